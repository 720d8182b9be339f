import json
import subprocess
from pathlib import Path

import pytest

from hosts import cpu_host, gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.checkpoint.types import Overlay
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.render import render_json, render_shell


def plan(host: Host, model: str = "/models/tiny") -> Plan:
    return make_plan(layout(model=model, folder=model), host, Request(), knowledge())


def run(text: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Run a rendered command in a real shell; return what `vllm` is given there."""
    vllm = folder / "vllm"
    vllm.write_text('#!/bin/sh\nprintf "%s\\0" "$@" -ENV-\nenv -0\n')
    vllm.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", text],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    words = done.stdout.split("\0")
    middle = words.index("-ENV-")
    return words[:middle], dict(w.split("=", 1) for w in words[middle + 1 :] if w)


@pytest.mark.parametrize("host", [cpu_host(), gpu_host(gpu())], ids=["cpu", "gpu"])
def test_a_shell_reads_back_what_the_plan_says(tmp_path: Path, host: Host) -> None:
    made = plan(host)

    words, variables = run(render_shell(made), tmp_path)

    assert words == ["serve", *made.argv]
    assert set(made.env) <= set(variables.items())
    assert variables.get("CUDA_VISIBLE_DEVICES", "") == ",".join(made.gpus)


@pytest.mark.parametrize(
    "name",
    ["/m/$(touch x)", "/m/`touch x`", "/m/a b", "/m/a'; touch x; '", "/m/a\ntouch x\n"],
)
def test_a_hostile_name_stays_one_word(tmp_path: Path, name: str) -> None:
    words, _ = run(render_shell(plan(cpu_host(), model=name)), tmp_path)

    assert words[1] == name
    assert [path.name for path in tmp_path.iterdir()] == ["vllm"]


@pytest.mark.parametrize(
    "name", ["a b", "it's", '"', "$(touch x)", "`touch x`", "a\ntouch x\n", "é\\", "*"]
)
def test_a_config_on_the_command_line_is_one_word_of_json(
    tmp_path: Path, name: str
) -> None:
    config = {"quant_method": "modelopt", "ignore": [name, "lm_head"]}
    overlay = Overlay(config, (f"`ignore` names {name}.",))
    made = make_plan(layout(overlay=overlay), cpu_host(), Request(), knowledge())

    words, _ = run(render_shell(made), tmp_path)

    assert words == ["serve", *made.argv]
    given = words[words.index("--hf-overrides") + 1]
    assert json.loads(given) == {"quantization_config": config}
    assert [path.name for path in tmp_path.iterdir()] == ["vllm"]


def test_what_is_done_to_the_weights_is_a_comment(tmp_path: Path) -> None:
    made = make_plan(
        layout(rewrites=("projection-first",)), cpu_host(), Request(), knowledge()
    )

    text = render_shell(made)

    assert "# weights: The experts' tensors are shown" in text
    assert "nvfp4-serve repair SRC DST" in text
    assert run(text, tmp_path)[0] == ["serve", *made.argv]


def test_the_json_of_a_plan_is_stable() -> None:
    made = plan(cpu_host())

    text = render_json(made)

    assert text == render_json(plan(cpu_host()))
    assert list(json.loads(text))[:3] == ["recipe_id", "status", "engine"]
    assert json.loads(text)["argv"] == list(made.argv)
