import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checkpoint.builders import modelopt_moe, write_checkpoint
from checkpoint.test_real_exports import HEADERS, restored
from data.checkpoints import make_deepseek_v4_pro as deepseek_v4_pro
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.facts import read_facts, read_facts_of
from nvfp4_serve.checkpoint.facts_text import facts_text
from nvfp4_serve.checkpoint.numbered import fold_names, parse_names
from nvfp4_serve.checkpoint.types import ScalePair
from nvfp4_serve.errors import CheckpointError

FACTS = Path(__file__).parents[1] / "data" / "checkpoints"
MISSION = FACTS / "deepseek-v4-pro-nvfp4-fp8-mtp.json"
EXPORTS = sorted(path.parent.name for path in HEADERS.glob("*/model.header.json"))


def written(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write a small checkpoint and its facts; return the file and what is in it."""
    model = write_checkpoint(folder / "model", modelopt_moe(experts=3))
    file = folder / "facts.json"
    file.write_text(facts_text(read_checkpoint(str(model))))
    return file, json.loads(file.read_bytes())


@pytest.mark.parametrize("export", EXPORTS)
def test_the_facts_of_every_real_export_say_all_that_its_files_say(
    tmp_path: Path, export: str
) -> None:
    checkpoint = read_checkpoint(str(restored(export, tmp_path)))
    file = tmp_path / "facts.json"

    file.write_text(facts_text(checkpoint))

    assert read_facts(file) == checkpoint
    assert read_layout(read_facts(file)) == read_layout(checkpoint)


def test_names_with_strange_characters_survive(tmp_path: Path) -> None:
    odd = {f"a\0b.{{x}}.experts.{n}.w*.weight": ("BF16", (2, 2)) for n in range(3)}
    model = write_checkpoint(tmp_path / "model", modelopt_moe() | odd)
    checkpoint = read_checkpoint(str(model))
    file = tmp_path / "facts.json"

    file.write_text(facts_text(checkpoint))

    assert read_facts(file) == checkpoint
    assert [g.members for g in read_facts(file).groups] == [
        g.members for g in checkpoint.groups
    ]


def test_global_scales_that_are_no_numbers_survive(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model", modelopt_moe())
    pairs = (ScalePair("a", "b", math.inf, 0.1), ScalePair("c", "d", math.nan, 1.0))
    checkpoint = replace(read_checkpoint(str(model)), scale_pairs=pairs)
    file = tmp_path / "facts.json"

    file.write_text(facts_text(checkpoint))

    assert repr(read_facts(file).scale_pairs) == repr(pairs)


def test_a_checkpoint_of_72_787_modules_has_facts_of_a_few_kibibytes() -> None:
    assert MISSION.stat().st_size < 20_000
    assert sum(group.count for group in read_facts(MISSION).groups) == 72_787


def test_the_facts_of_the_mission_are_what_their_script_makes() -> None:
    assert MISSION.read_text() == facts_text(deepseek_v4_pro.checkpoint()) + "\n"


def test_the_source_of_the_mission_is_constructed_as_it_was_counted() -> None:
    assert deepseek_v4_pro.counted() == deepseek_v4_pro.PUBLISHED


def test_the_mission_is_known_from_its_facts() -> None:
    layout = read_layout(read_facts(MISSION))

    assert layout.layout == "deepseek-v4"
    assert layout.servable
    assert layout.schemes["routed_experts"] == "NVFP4"
    assert "MXFP4" in layout.schemes["mtp"]
    assert layout.overlay is not None
    assert layout.overlay.quantization_config["ignore"] == ["mtp.*"]
    # The card's 913, which are GB; the source's published count of parameters.
    assert round(layout.weight_bytes / 1e9) == 913
    assert round(layout.parameters / 1e7) == 159_884
    assert "constructed-facts" in [finding.id for finding in layout.findings]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda d: d["groups"][0].update(count=9), "its `count` is 9", id="count"
        ),
        pytest.param(
            lambda d: d.update(modules=d["modules"] + 1), "`modules` is", id="modules"
        ),
        pytest.param(lambda d: d.update(bytes=7), "`bytes` is 7", id="bytes"),
        pytest.param(
            lambda d: d["groups"].append(d["groups"][0]), "the rows name", id="twice"
        ),
        pytest.param(
            lambda d: d["groups"][0].update(modules="a.{0-"), "brace", id="brace"
        ),
        pytest.param(
            lambda d: d["groups"][0].update(modules="a.{3-1}"), "ascending", id="order"
        ),
        pytest.param(
            lambda d: d["groups"][0].update(modules="a.{0-999999}.{0-9}.b"),
            "more than 2,000,000",
            id="bomb",
        ),
        pytest.param(
            lambda d: d["groups"][0].update(tensors={"weight": ["F4", [3]]}),
            "no whole number of bytes",
            id="half-a-byte",
        ),
        pytest.param(
            lambda d: d.update(constructed=True), "`sources` says", id="no-source"
        ),
        pytest.param(lambda d: d.update(colour=1), "unknown field", id="unknown"),
        pytest.param(lambda d: d.pop("groups"), "missing required", id="missing"),
        pytest.param(
            lambda d: d["groups"][0].update(tensors={"w": ["F9", [3]]}),
            "Invalid enum value 'F9'",
            id="dtype",
        ),
    ],
)
def test_facts_that_contradict_themselves_are_refused(
    tmp_path: Path, change: Callable[[Any], object], says: str
) -> None:
    file, data = written(tmp_path)
    change(data)
    file.write_text(json.dumps(data))

    with pytest.raises(CheckpointError) as caught:
        read_facts(file)

    assert says in " ".join(caught.value.evidence)
    assert str(file) in caught.value.problem
    assert "inspect" in caught.value.fix


def test_facts_of_another_version_are_refused_by_their_version(tmp_path: Path) -> None:
    file, data = written(tmp_path)
    file.write_text(json.dumps({**data, "checkpoint_facts": 2, "groups": "new"}))

    with pytest.raises(CheckpointError, match="of version 2; this launcher reads"):
        read_facts(file)


def test_the_facts_of_a_machine_are_not_those_of_a_checkpoint() -> None:
    machine = FACTS.parent / "hosts" / "gb10.json"

    with pytest.raises(CheckpointError, match="describes a machine, for `--facts`"):
        read_facts(machine)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"[1]", "not an object", id="list"),
        pytest.param(b"{}", "holds no checkpoint facts", id="nothing"),
    ],
)
def test_a_file_that_holds_no_facts_is_refused(
    tmp_path: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "facts.json"
    file.write_bytes(content)

    with pytest.raises(CheckpointError, match=says):
        read_facts(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No such file") as caught:
        read_facts(tmp_path / "none.json")

    assert "none.json" in caught.value.problem


def test_the_facts_of_another_checkpoint_are_refused() -> None:
    with pytest.raises(
        CheckpointError, match=r"describes `canada-quant/.*not `nvidia/x`"
    ):
        read_facts_of("nvidia/x", MISSION)


def test_the_facts_of_another_revision_are_refused() -> None:
    model = "canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP"

    with pytest.raises(CheckpointError, match="at no known revision, not at 'abc'"):
        read_facts_of(model, MISSION, revision="abc")


def test_the_commit_of_a_checkpoint_on_the_hub_is_kept(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", modelopt_moe())
    commit = "0123456789" * 4
    read = replace(
        read_checkpoint(str(folder)), model="a/b", folder=None, revision=commit
    )
    file = tmp_path / "facts.json"

    file.write_text(facts_text(read))

    assert read_facts_of("a/b", file, revision=commit) == read


def test_a_folder_may_be_named_in_another_way_than_when_it_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = written(tmp_path)
    monkeypatch.chdir(tmp_path)

    assert read_facts_of("model", file).folder == str(tmp_path / "model")


@pytest.mark.parametrize(
    ("names", "patterns"),
    [
        (["a.0.b", "a.1.b", "a.2.b", "a.5.b"], ["a.{0-2,5}.b"]),
        (["a.0.1", "a.0.2", "a.3.1", "a.3.2"], ["a.{0,3}.{1-2}"]),
        (["a.0.1", "a.0.2", "a.3.1"], ["a.0.{1-2}", "a.3.1"]),
        (["a.01.b", "a.1.b"], ["a.01.b", "a.1.b"]),
        (["", "norm"], ["", "norm"]),
        (["{a}.1", "{a}.2"], ["{{a}}.{1-2}"]),
    ],
)
def test_names_that_differ_in_numbers_are_one_pattern(
    names: list[str], patterns: list[str]
) -> None:
    assert fold_names(names) == patterns
    assert sorted(n for p in patterns for n in parse_names(p).names()) == sorted(names)


def test_patterns_stand_for_exactly_the_names_that_they_were_made_of() -> None:
    chance = random.Random(5)  # noqa: S311
    for _ in range(200):
        names = {
            f"l.{chance.randrange(5)}.e.{chance.randrange(4)}.w{chance.randrange(2)}"
            for _ in range(chance.randrange(30))
        }

        patterns = fold_names(names)

        found = [name for pattern in patterns for name in parse_names(pattern).names()]
        assert sorted(found) == sorted(names)
