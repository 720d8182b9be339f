"""The very command on real ModelOpt: tiny models whose config names no architecture."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.errors import QuantizeError
from nvfp4_serve.quantize.make import WORKER, make_checkpoint
from nvfp4_serve.quantize.recipes import RECIPES, REFUSED
from nvfp4_serve.runtime.engine import install_engine
from nvfp4_serve.runtime.identity import quantizer_spec
from patches.plain_twin import make_plain_twin
from quantize.worlds import wish_of
from stand_in import quiet
from twins.producer import producer_python

pytestmark = pytest.mark.producer

_HERE = Path(__file__).parent
_TOP = _HERE.parents[1]
_EXAMPLE = _TOP / "examples/sonnet-18-nvfp4"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plain models, each with the example's tokenizer."""
    folder = tmp_path_factory.mktemp("models")
    kinds = ("qwen3_moe", "qwen3_5_moe_text", "glm4_moe")
    maker = str(_HERE / "make_models.py")
    command = [str(producer_python()), maker, str(folder), *kinds]
    subprocess.run(command, check=True, capture_output=True)
    for kind in kinds:
        for name in _TOKENIZER:
            shutil.copy(_EXAMPLE / name, folder / kind)
        (folder / kind / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "text.txt").write_text((_TOP / "examples/sonnet-18.txt").read_text())
    return folder


@pytest.fixture(scope="module")
def worker() -> tuple[str, str, str]:
    python = install_engine(quantizer_spec(), quiet).python
    return str(python), "-I", str(WORKER)


def quantize(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "quantize", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("kind", ["qwen3_moe", "qwen3_5_moe_text"])
def test_a_fused_moe_model_becomes_nvfp4_through_and_through(
    models: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"

    done = quantize(
        models / kind, out, "--calib", models / "text.txt", "--calib-length", "32"
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert re.search(r"inspected: all \d+ modules that NVFP4_DEFAULT_CFG", done.stderr)
    for phase in (r"calibrating \d+/\d+", "packing layers 2/2"):
        assert re.search(phase, done.stderr), done.stderr
    layout = read_layout(read_checkpoint(str(out)))
    assert layout.servable, layout.findings
    assert layout.schemes["routed_experts"] == "NVFP4"
    assert json.loads((out / "config.json").read_text())["architectures"]
    assert {*_TOKENIZER, "chat_template.jinja", "generation_config.json"} <= {
        path.name for path in out.iterdir()
    }
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.usefixtures("worker")
def test_weights_alone_need_no_text_and_an_fp8_kv_cache_is_said(
    models: Path, tmp_path: Path
) -> None:
    model = models / "qwen3_moe"
    w4a16 = quantize(model, tmp_path / "a", "--recipe", "W4A16_NVFP4_CFG")
    words = ("--calib", models / "text.txt", "--kv-cache", "fp8")
    kv8 = quantize(model, tmp_path / "b", "--recipe", "NVFP4_EXPERTS_ONLY_CFG", *words)

    assert (w4a16.returncode, kv8.returncode) == (0, 0), w4a16.stderr + kv8.stderr
    schemes = read_layout(read_checkpoint(str(tmp_path / "a"))).schemes
    assert schemes["routed_experts"] == schemes["attention"] == "W4A16_NVFP4"
    schemes = read_layout(read_checkpoint(str(tmp_path / "b"))).schemes
    assert schemes["routed_experts"] == "NVFP4"
    assert schemes["attention"] == "BF16"
    assert schemes["kv_cache"] == "FP8"


def test_experts_that_modelopt_leaves_in_bfloat16_fail_it_and_are_named(
    models: Path, tmp_path: Path, worker: tuple[str, str, str]
) -> None:
    planted = (*worker[:2], str(_HERE / "planted_worker.py"))
    wish = wish_of(
        tmp_path,
        model=str(models / "glm4_moe"),
        recipe="NVFP4_DEFAULT_CFG",
        calibration=models / "text.txt",
    )

    with pytest.raises(QuantizeError, match="without an error") as caught:
        make_checkpoint(wish, planted, quiet)

    shown = "\n".join(caught.value.evidence)
    assert "model.layers.1.mlp.experts.*.up_proj: 0 of 6 packed" in shown
    assert "gate_up_proj BF16" in shown
    assert not wish.out.exists()


def test_the_same_model_passes_without_the_planted_bug(
    models: Path, tmp_path: Path, worker: tuple[str, str, str]
) -> None:
    wish = wish_of(
        tmp_path,
        model=str(models / "glm4_moe"),
        recipe="NVFP4_DEFAULT_CFG",
        calibration=models / "text.txt",
    )

    make_checkpoint(wish, worker, quiet)

    assert wish.out.is_dir()


def test_a_checkpoint_without_some_of_its_weights_is_refused(
    models: Path, tmp_path: Path, worker: tuple[str, str, str]
) -> None:
    model = tmp_path / "plain"
    shutil.copytree(models / "qwen3_moe", model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))

    with pytest.raises(QuantizeError, match=r"lacks \d+ tensors"):
        make_checkpoint(wish_of(tmp_path), worker, quiet)


def test_every_nvfp4_recipe_of_the_installed_modelopt_is_offered_or_refused(
    worker: tuple[str, str, str],
) -> None:
    done = subprocess.run(
        [*worker, json.dumps({"model": None})],
        capture_output=True,
        text=True,
        check=True,
    )
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    (names,) = [fact["names"] for fact in facts if fact["event"] == "recipes"]

    theirs = {name for name in names if "NVFP4" in name}
    assert theirs - {*RECIPES, *REFUSED} == set()
    assert theirs >= {*RECIPES, *REFUSED}


@pytest.mark.engine
def test_the_engine_serves_it_as_its_plain_twin(
    models: Path, tmp_path: Path, patched_python: str
) -> None:
    text = models / "text.txt"
    done = quantize(models / "qwen3_moe", tmp_path / "out", "--calib", text)
    assert done.returncode == 0, done.stderr
    make_plain_twin(tmp_path / "out", tmp_path / "plain")
    requests: list[dict[str, Any]] = [
        {"name": name, "model": name, "flags": {}} for name in ("out", "plain")
    ]
    (tmp_path / "requests.json").write_text(json.dumps(requests))

    asker = str(_TOP / "tests/patches/ask_engine.py")
    subprocess.run(
        [patched_python, "-I", asker, "requests.json", "answers.json"],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )

    answers: dict[str, Any] = json.loads((tmp_path / "answers.json").read_text())
    assert "error" not in answers["out"], answers["out"]["error"]
    assert answers["out"]["logprobs"] == answers["plain"]["logprobs"]


@pytest.fixture(scope="module")
def patched_python() -> str:
    from engines import engine_python

    return str(engine_python())
