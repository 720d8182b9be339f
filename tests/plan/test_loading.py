import re
from pathlib import Path
from typing import Any, Final

import pytest

from hosts import cpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan import Plan, Request, make_plan

SPELLINGS = {"--load-format": "--load-format"}
TRACKED = "--model-loader-extra-config"
ADAPTER: Final = (
    Path(__file__).parents[2] / "patches/plugin/nvfp4_serve_engine/adapter.py"
)


def plan(*extra: str, **changes: Any) -> Plan:
    return make_plan(
        layout(**changes), cpu_host(), Request(extra=extra), knowledge(SPELLINGS)
    )


def weights(made: Plan) -> list[str]:
    return [reason.why for reason in made.because if reason.flag == "weights"]


def test_a_layout_that_vllm_knows_is_not_spoken_of() -> None:
    assert weights(plan()) == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("projection-first", "in front of the projection"),
        ("quantizer-state", "as the scales of an export"),
        ("fused", "one by one"),
        ("packed-name", "as `weight`"),
    ],
)
def test_what_the_adapter_does_is_said_with_the_way_to_do_without(
    kind: str, says: str
) -> None:
    (why,) = weights(plan(rewrites=(kind,)))

    assert says in why
    assert "nvfp4-serve repair SRC DST" in why


@pytest.mark.parametrize("form", ["sharded_state", "tensorizer", "npcache", "pt"])
def test_a_loader_that_reads_past_the_adapter_is_refused(form: str) -> None:
    with pytest.raises(UsageError, match=f"--load-format {form}` reads") as caught:
        plan("--load-format", form, rewrites=("projection-first",))

    assert "runai_streamer" in caught.value.fix
    assert "nvfp4-serve repair SRC DST" in caught.value.fix
    assert plan("--load-format", form).argv[-1] == form


@pytest.mark.parametrize(
    "form", ["auto", "hf", "safetensors", "fastsafetensors", "runai_streamer"]
)
def test_a_loader_behind_the_adapter_is_taken(form: str) -> None:
    assert weights(plan("--load-format", form, rewrites=("fused",)))


def test_the_adapters_own_words_must_show_in_the_log() -> None:
    said = re.findall(r'"([^"]*tensors are [^"]*)"', ADAPTER.read_text())
    wanted = set(plan(rewrites=("fused",)).expect.log_must)

    (own,) = wanted - set(plan().expect.log_must)

    assert any(re.search(own, words % (1, 2, "fused")) for words in said)


@pytest.mark.parametrize(
    ("name", "rewrites"),
    [
        ("modelopt-per-expert", ()),
        ("modelopt-projection-first", ("projection-first",)),
        ("modelopt-state-dict", ("quantizer-state",)),
        ("modelopt-fused", ("fused",)),
        ("compressed-tensors", ()),
    ],
)
def test_a_missing_scale_stops_the_start_of_every_layout_that_vllm_knows_whole(
    name: str, rewrites: tuple[str, ...]
) -> None:
    assert TRACKED in plan(layout=name, rewrites=rewrites).argv
    weight_only = {"attention": "W4A16_NVFP4"}
    assert TRACKED not in plan(layout=name, schemes=weight_only).argv


@pytest.mark.parametrize("name", ["modelopt-fused", "modelopt-mixed", "mxfp4"])
def test_a_layout_that_a_models_own_loader_takes_is_not_tracked(name: str) -> None:
    assert TRACKED not in plan(layout=name).argv
