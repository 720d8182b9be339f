import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hosts import gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import KnownBadError, RecipeError, UsageError
from nvfp4_serve.finding import Severity
from nvfp4_serve.plan import Request, make_plan
from nvfp4_serve.plan.case import Case, read_flags
from nvfp4_serve.plan.known_bad import check_known_bad, holding
from nvfp4_serve.recipe.knowledge import Knowledge
from nvfp4_serve.recipe.known_bad import SHIPPED, load_known_bad
from nvfp4_serve.recipe.ranges import number_in, version_in
from plan.known_bad_examples import EXAMPLES, SPELLINGS, Example, neighbours

TOP = Path(__file__).parents[2]
ROWS = {row.id: row for row in load_known_bad()}


def ids(case: Case) -> list[str]:
    return [row.id for row in holding(ROWS.values(), case)]


def test_every_row_has_an_example() -> None:
    assert EXAMPLES.keys() == ROWS.keys()
    assert len(ROWS) >= 30


@pytest.mark.parametrize("name", ROWS)
def test_a_row_holds_where_somebody_saw_it(name: str) -> None:
    assert name in ids(EXAMPLES[name].case())


@pytest.mark.parametrize("name", ROWS)
def test_a_row_does_not_hold_where_one_of_its_conditions_does_not(name: str) -> None:
    conditions = msgspec.to_builtins(ROWS[name].when)

    for condition, value in conditions.items():
        for neighbour in neighbours(EXAMPLES[name], condition, value):
            assert name not in ids(neighbour.case()), (condition, neighbour)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(Example(), id="b200"),
        pytest.param(Example(capability=(10, 3), gpus=8), id="b300"),
        pytest.param(Example(capability=(12, 0), nvlinks=0), id="rtx-pro"),
        pytest.param(Example(capability=(9, 0), gpus=8), id="h100"),
        pytest.param(Example(gpus=0), id="cpu"),
        pytest.param(
            Example("--max-num-seqs 8", capability=(12, 1), unified=True), id="gb10"
        ),
    ],
)
def test_what_is_plainly_right_is_not_warned_of(example: Example) -> None:
    assert ids(example.case()) == []


def test_what_is_not_known_makes_no_row_hold() -> None:
    assert ids(Case()) == []


def test_a_folder_is_known_by_its_owner_and_not_by_its_name() -> None:
    bad = layout(folder="/models/GLM-5.3-Flash-NVFP4", model="GLM-5.3-Flash-NVFP4")
    owned = replace(bad, folder="/models/LibertAIDAI/GLM-5.3-Flash-NVFP4")
    cache = "/cache/models--LibertAIDAI--GLM-5.3-Flash-NVFP4/snapshots/abc"
    cached = replace(bad, folder=cache)

    assert ids(Case(layout=bad)) == []
    assert ids(Case(layout=owned)) == ["glm-5.3-flash-libertaidai"]
    assert ids(Case(layout=cached)) == ["glm-5.3-flash-libertaidai"]


def our_knowledge() -> Knowledge:
    return knowledge(SPELLINGS, known_bad=tuple(ROWS.values()))


def test_a_plan_that_is_known_not_to_work_is_refused_with_its_source() -> None:
    host = gpu_host(gpu(capability=(12, 1), memory=None))
    request = Request(extra=("--enable-sleep-mode",))

    with pytest.raises(KnownBadError, match=r"\(sleep-mode-gb10\)") as caught:
        make_plan(layout(), host, request, our_knowledge())

    assert "vllm#50011" in caught.value.evidence[0]
    assert "Leave `--enable-sleep-mode` out" in caught.value.fix
    assert "`--allow-known-bad sleep-mode-gb10`" in caught.value.fix


def test_who_knows_of_it_may_go_on_and_is_told() -> None:
    host = gpu_host(gpu(capability=(12, 1), memory=None))
    request = Request(extra=("--enable-sleep-mode",), allowed=("sleep-mode-gb10",))

    made = make_plan(layout(), host, request, our_knowledge())

    assert [f.id for f in made.findings] == ["known-bad:sleep-mode-gb10"]
    assert made.findings[0].severity is Severity.WARNING


def test_what_may_go_wrong_is_said_in_the_plan() -> None:
    host = gpu_host(replace(gpu(), uuid="MIG-377e", mig_parent="GPU-1"))

    made = make_plan(layout(), host, Request(), our_knowledge())

    assert [f.id for f in made.findings] == ["known-bad:mig-parent"]
    assert "vllm#41848" in made.findings[0].message


def test_several_refusals_are_told_together() -> None:
    example = EXAMPLES["sleep-mode-gb10"]
    both = replace(
        example,
        words=f"{example.words} --cpu-offload-gb 8",
        versions={"vllm": "0.18.2"},
    )

    with pytest.raises(KnownBadError, match="things") as caught:
        check_known_bad(tuple(ROWS.values()), both.case(), ())

    assert len(caught.value.evidence) > 1


def test_a_misspelt_row_cannot_be_allowed() -> None:
    with pytest.raises(UsageError, match="did you mean `mig-parent`"):
        check_known_bad(tuple(ROWS.values()), Case(), ("mig-parents",))


def test_the_versions_that_we_ship_are_those_that_are_pinned() -> None:
    pinned = (TOP / "requirements/engine-cuda.txt").read_text()
    names = {
        "vllm": "vllm",
        "flashinfer": "flashinfer-python",
        "nccl": "nvidia-nccl-cu13",
        "cudnn": "nvidia-cudnn-cu13",
    }

    for name, version in SHIPPED.items():
        found = re.search(rf"(?m)^{names[name]}==(\S+)", pinned)
        assert found is not None
        assert found[1] == version


def test_every_flag_of_the_list_is_one_of_the_pinned_engine() -> None:
    flags = {f for row in ROWS.values() for f in row.when.flags or {}}

    assert {f for f in flags if f.partition(".")[0] not in SPELLINGS} == set()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        pytest.param('when: {}', "no condition", id="always"),
        pytest.param('when: {vllm: "0.3"}', "is no range", id="range"),
        pytest.param('when: {modle: "a/b"}', "did you mean `model`", id="typo"),
        pytest.param('when: {wsl: true}\n    kind: gpu', "kind", id="kind"),
        pytest.param('when: {flags: {--a: ">x"}}', "`x` is no number", id="flag"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_with_its_line(
    tmp_path: Path, row: str, says: str
) -> None:
    kind = "" if "kind" in row else "    kind: host\n"
    file = tmp_path / "known-bad.yaml"
    file.write_text(
        "schema: nvfp4-serve/known-bad/v1\nrows:\n  - id: one\n"
        f'{kind}    severity: warn\n    symptom: "s"\n    source: "s"\n'
        f'    instead: "i"\n    {row}\n'
    )

    with pytest.raises(RecipeError) as caught:
        load_known_bad(file)

    assert says in caught.value.evidence[0]
    assert caught.value.evidence[0].startswith("line ")


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    own = (TOP / "recipes/known-bad.yaml").read_text()
    file = tmp_path / "known-bad.yaml"
    file.write_text(own.replace("id: mig-parent", "id: mig-by-uuid"))

    with pytest.raises(RecipeError) as caught:
        load_known_bad(file)

    assert "two rows are called 'mig-by-uuid'" in caught.value.evidence[0]


@pytest.mark.parametrize(
    ("text", "version", "holds"),
    [
        (">=0.25,<0.26", "0.25.1", True),
        (">=0.25,<0.26", "0.26.0", False),
        ("<0.20", "0.19.1", True),
        ("==0.27.1", "0.27.1", True),
        ("==0.27.1", "0.27.1.post1", False),
        (">=0.6.16.post4,<0.6.18", "0.6.16.post3", False),
        (">=0.6.16.post4,<0.6.18", "0.6.17", True),
        ("<580", "570.133.20", True),
        ("==580.159.03", "580.159.3", True),
    ],
)
def test_versions_are_compared_as_versions(
    text: str, version: str, holds: bool
) -> None:
    assert version_in(text, version) is holds


def test_numbers_are_compared_as_numbers() -> None:
    assert number_in(">0.90", 0.905)
    assert not number_in(">0.9", 0.9)
    assert number_in("<=17 GiB", 17 * 2**30)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("--moe-backend=marlin", {"--moe-backend": "marlin"}),
        ("--max_num_seqs 8", {"--max-num-seqs": "8"}),
        ("-tp 4", {"--tensor-parallel-size": "4"}),
        ("--no-enable-prefix-caching", {"--enable-prefix-caching": "false"}),
        ("--moe-backend a --moe-backend b", {"--moe-backend": "b"}),
        (
            "--speculative_config.method mtp",
            {"--speculative-config.method": "mtp"},
        ),
        (
            '--speculative-config {"method":"mtp","n":1,"a":{"b":true}}',
            {
                "--speculative-config": '{"method":"mtp","n":1,"a":{"b":true}}',
                "--speculative-config.method": "mtp",
                "--speculative-config.n": "1",
                "--speculative-config.a.b": "true",
            },
        ),
    ],
)
def test_flags_are_known_however_they_are_written(
    words: str, flags: dict[str, str]
) -> None:
    assert read_flags(tuple(words.split()), SPELLINGS) == flags
