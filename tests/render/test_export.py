"""A plan in the words of other tools; what is imported again is the same plan."""

import json
import random
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from hosts import cpu_host, gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.host import Host
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.recipe.forbidden import why_no_flag
from nvfp4_serve.recipe.foreign.arguments import claims, read_arguments
from nvfp4_serve.recipe.foreign.words import Word
from nvfp4_serve.render.argv import export_argv
from nvfp4_serve.render.compose import export_compose
from nvfp4_serve.render.exported import Exported
from nvfp4_serve.render.sparkrun import export_sparkrun
from recipe.foreign.samples import FLAGS, arguments, environment, read

IMAGE = f"vllm/vllm-openai:v0.32.0@sha256:{'a' * 64}"
TWO = gpu_host(gpu(0), gpu(1))


def plan(host: Host = TWO, **changes: Any) -> Plan:
    made = make_plan(layout(), host, Request(), knowledge())
    return replace(made, **changes)


def compose(made: Plan) -> dict[str, Any]:
    """Return the service, as a YAML reader of its own takes it."""
    data = yaml.safe_load(export_compose(made, IMAGE).text)
    assert list(data["services"]) == ["vllm"]
    service: dict[str, Any] = data["services"]["vllm"]
    return service


def test_compose_publishes_the_port_on_the_address_of_the_plan_alone() -> None:
    service = compose(plan())

    assert service["ports"] == [
        {"host_ip": "127.0.0.1", "published": "8000", "target": 8000, "protocol": "tcp"}
    ]
    assert service["command"][1:3] == ["--host", "0.0.0.0"]  # noqa: S104 - inside


def test_compose_publishes_on_an_ipv6_address() -> None:
    assert compose(plan(bind="[::1]:9000"))["ports"][0]["host_ip"] == "::1"


def test_compose_runs_vllm_whatever_the_image_would_run() -> None:
    service = compose(plan())

    assert service["image"] == IMAGE
    assert service["entrypoint"] == ["vllm", "serve"]
    assert service["command"][0] == layout().model
    assert service["restart"] == "no"


def test_compose_reserves_the_gpus_of_the_plan_and_no_other() -> None:
    service = compose(plan())

    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {
        "driver": "nvidia",
        "device_ids": list(plan().gpus),
        "capabilities": ["gpu"],
    }
    assert "CUDA_VISIBLE_DEVICES" not in service["environment"]


def test_compose_without_a_gpu_reserves_none() -> None:
    assert "deploy" not in compose(plan(cpu_host()))


def test_compose_mounts_the_model_so_that_nobody_can_write_it() -> None:
    (volume,) = compose(plan())["volumes"]

    assert volume["read_only"] is True
    assert volume["source"] == volume["target"] == layout().folder


def test_compose_keeps_what_it_loads_from_the_hub() -> None:
    data = yaml.safe_load(export_compose(plan(mounts=()), IMAGE).text)

    assert data["volumes"] == {"hub": {}}
    assert data["services"]["vllm"]["environment"]["HF_HOME"] == "/hub"


def test_compose_gives_the_processes_of_a_plan_room_to_talk() -> None:
    # A container has 64 MiB of its own, and NCCL dies of that on two GPUs.
    made = plan(gpu_host(gpu(0), gpu(1)))

    assert compose(made)["shm_size"] == 16 << 30


def test_compose_replaces_no_dollar() -> None:
    made = plan(argv=("a/B", "--x", "$HOME ${X} $$"), env=(("A_B", "$C"),))

    service = compose(made)

    assert service["command"][2] == "$$HOME $${X} $$$$"
    assert service["environment"]["A_B"] == "$$C"


@pytest.mark.parametrize("export", [export_compose, export_sparkrun])
def test_an_image_must_be_named_and_no_digest_is_made_up(export: Any) -> None:
    with pytest.raises(UsageError, match="names no image"):
        export(plan(), None)

    exported = export(plan(), "vllm/vllm-openai:v0.32.0")
    assert "sha256" not in exported.text
    assert any("has no digest" in warning for warning in exported.warnings)
    assert not any("digest" in warning for warning in export(plan(), IMAGE).warnings)


@pytest.mark.parametrize("flag", ["--api-key", "--api_key", "--hf-token"])
@pytest.mark.parametrize("joined", [True, False])
def test_a_secret_is_not_exported_nor_said(flag: str, *, joined: bool) -> None:
    words = (f"{flag}=pssst-pssst",) if joined else (flag, "pssst-pssst")
    made = plan(argv=("a/B", *words))

    for form in ("compose", "sparkrun", "argv", "shell"):
        with pytest.raises(UsageError) as caught:
            _export(made, form)
        assert "pssst" not in str(caught.value) + caught.value.fix


def test_weights_that_our_engine_changes_are_told() -> None:
    made = make_plan(
        layout(rewrites=("projection-first",)), TWO, Request(), knowledge()
    )

    assert any("changes the weights" in w for w in export_compose(made, IMAGE).warnings)


def test_sparkrun_gets_the_fields_that_it_counts_by() -> None:
    data = yaml.safe_load(export_sparkrun(plan(), IMAGE).text)

    assert data["recipe_version"] == "2"
    assert data["model"] == layout().model
    assert data["container"] == IMAGE
    assert data["defaults"]["port"] == 8000
    assert data["defaults"]["host"] == "127.0.0.1"
    assert "{tensor_parallel}" in data["command"]
    assert data["command"].startswith("vllm serve {model} \\\n")


@pytest.mark.parametrize("word", ["{model}", "{{x", "a \\ \nb"])
def test_what_sparkrun_reads_otherwise_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="otherwise"):
        export_sparkrun(plan(argv=("a/B", "--x", word)), IMAGE)


def test_argv_can_be_executed_as_it_is() -> None:
    made = plan()

    words = json.loads(export_argv(made, shell=False).text)

    assert words[0] == "env"
    assert words[1 : 1 + len(made.env)] == [f"{n}={v}" for n, v in made.env]
    assert words[1 + len(made.env) :] == ["vllm", "serve", *made.argv]


#: Flags that a recipe never has, or that the importer puts elsewhere.
NOT_CARRIED = {
    "--model", "--revision", "--trust-remote-code", "--api-key", "--hf-token", "--help",
    "--config", "--host", "--port", "--served-model-name", "--uvicorn-log-level",
    "--nnodes", "--node-rank", "--master-addr", "--master-port", "--headless",
    "--attention-config", "--optimization-level",
}  # fmt: skip
PIECES = [
    "a", "Z", "0", "7", ".", "-", "_", "/", " ", "  ", "'", '"', "\\", "{", "}", "[",
    "]", ":", ": ", " #", ",", "&", "*", "!", "|", ">", "%", "@", "`", "é", "日", "\t",
    "\n", "~", "=", "?", ";", "(", ")", "$", "yes", "null", "1e3", "0.80", "\u2028",
]  # fmt: skip


OTHERWISE = re.compile(r"\{[A-Za-z_][\w.]*\}|\{\{|\\[ \t]+\n", re.ASCII)


def text(dice: random.Random) -> str:
    value = "".join(dice.choice(PIECES) for _ in range(dice.randrange(1, 9)))
    return f"x{value}" if value.startswith(("-", "{")) else value


def words(dice: random.Random) -> list[str]:
    """Return a few flags of the pinned vLLM with values of all kinds."""
    told: list[str] = []
    names = sorted(
        name
        for name in set(FLAGS.by_name) - NOT_CARRIED
        if why_no_flag(name, None) is None
    )
    for name in dice.sample(names, dice.randrange(1, 9)):
        if "data-parallel" in name:
            continue
        flag = FLAGS.by_name[name]
        if flag.takes_value == "no":
            told.append(dice.choice([name, *flag.aliases]))
        elif flag.choices:
            told += [name, dice.choice(flag.choices)]
        elif name.endswith("-config") and dice.random() < 0.7:
            value = {"k": text(dice), "l": [1, 2.5, None, True], "m": {"n": {}}}
            told += [name, json.dumps(value)]
        elif dice.random() < 0.2:
            told.append(f"{name}={text(dice)}")
        else:
            told += [name, text(dice)]
    return told


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.parametrize("form", ["compose", "sparkrun", "argv", "shell"])
def test_what_is_exported_is_imported_as_the_same(form: str, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same plans every time
    argv = ("acme/Tiny-NVFP4", *words(dice), "--revision", "a" * 40)
    env = {f"X_{n}": text(dice).replace("$", "") for n in range(dice.randrange(4))}
    made = plan(argv=argv, env=tuple(env.items()), gpus=(), mounts=())
    expected = claims(
        read_arguments(tuple(Word(word, 1) for word in argv), FLAGS).given
    )
    expected.pop("--revision")

    if form == "sparkrun" and OTHERWISE.search(" ".join(argv)):
        with pytest.raises(UsageError, match="otherwise"):
            _export(made, form)
        return
    exported = _export(made, form)
    imported = read(exported.text)

    assert imported.model == "acme/Tiny-NVFP4"
    assert imported.launch.revision == "a" * 40
    assert arguments(imported) == {
        n: several[-1].value for n, several in expected.items()
    }
    assert environment(imported) == env


def _export(made: Plan, form: str) -> Exported:
    if form == "compose":
        return export_compose(made, IMAGE)
    if form == "sparkrun":
        return export_sparkrun(made, IMAGE)
    return export_argv(made, shell=form == "shell")
