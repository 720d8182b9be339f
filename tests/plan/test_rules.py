"""The rows of rules.yaml: no gaps, no quarrels, nothing that vLLM does not offer."""

import re
from collections.abc import Iterator

import pytest

from nvfp4_serve.plan.backends import (
    NVFP4,
    Target,
    choose_backends,
    situations,
)
from nvfp4_serve.plan.matching import Situation, deciding, holds
from nvfp4_serve.plan.stock import attention_cell, draft_cell, linear_cell, moe_cell
from nvfp4_serve.recipe.backend_rules import FIELDS, Row, When
from nvfp4_serve.recipe.environment import read_variables
from nvfp4_serve.recipe.flags import read_spellings
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.resources import VLLM_VERSION
from plan.backend_table import GOLDEN, table_text
from plan.situations import KINDS, targets

KNOWN = load_knowledge()
RULES, STOCK = KNOWN.rules, KNOWN.auto


def every() -> Iterator[tuple[str, Target, Situation]]:
    for name, kind in KINDS.items():
        for target in targets():
            for situation in situations(kind, target):
                yield name, target, situation


EVERY = tuple(every())


def decided(situation: Situation, field: str) -> Row | None:
    return next(iter(deciding(RULES, situation, field)), None)


def test_the_rows_were_held_against_the_vllm_that_we_ship() -> None:
    assert RULES.vllm == VLLM_VERSION == STOCK.vllm


def test_no_situation_is_without_a_row() -> None:
    gaps = {
        (name, target.capability_text, field)
        for name, target, situation in EVERY
        for field in ("moe", "linear", "attention", "kv_cache_dtype", "draft_moe")
        if decided(situation, field) is None
        and not (field == "moe" and situation.experts is None)
        and not (field == "linear" and situation.linear is None)
        and not (field == "draft_moe" and situation.draft is None)
    }

    assert gaps == set()


def test_rows_of_one_rank_agree() -> None:
    rows = [
        (field, deciding(RULES, situation, field))
        for _, _, situation in EVERY
        for field in FIELDS
    ]

    quarrels = {
        (field, *(row.id for row in found))
        for field, found in rows
        if len({row.says(field) for row in found}) > 1
    }

    assert quarrels == set()


def test_every_row_decides_somewhere() -> None:
    used = {
        row.id
        for _, _, situation in EVERY
        for field in FIELDS
        for row in deciding(RULES, situation, field)
    }
    used |= {
        row.id
        for row in RULES.rows
        if row.choose.env and any(holds(row.when, s) for _, _, s in EVERY)
    }

    assert {row.id for row in RULES.rows} - used == set()


@pytest.mark.parametrize("field", ["moe", "linear", "draft_moe"])
def test_every_row_expects_what_vllms_own_code_answers(field: str) -> None:
    lookup = {"moe": moe_cell, "linear": linear_cell, "draft_moe": draft_cell}[field]
    wrong = set()
    for name, target, situation in EVERY:
        row, cell = decided(situation, field), lookup(STOCK, target, situation)
        if row is None or (field == "draft_moe" and row.expect.draft_moe is None):
            continue
        assert cell is not None, (name, target, field)
        value = str(row.says(field))
        answer = cell.auto if value == "auto" else cell.offers.get(value)
        if answer != getattr(row.expect, field):
            wrong.add((row.id, name, target.capability_text, value, answer))

    assert wrong == set()


def test_every_row_expects_the_attention_that_vllms_own_code_takes() -> None:
    wrong = set()
    for name, target, situation in EVERY:
        row = decided(situation, "attention")
        cell = attention_cell(STOCK, target, situation, "auto")
        assert row is not None
        assert cell is not None, (name, target)
        if row.expect.attention is not None and cell.auto != row.expect.attention:
            wrong.add((row.id, name, target.capability_text, cell.auto))

    assert wrong == set()


def test_an_explicit_backend_runs_the_draft_too() -> None:
    for name, target, situation in EVERY:
        row, cell = decided(situation, "moe"), draft_cell(STOCK, target, situation)
        value = row.says("moe") if row is not None else "auto"
        if cell is not None and value != "auto":
            assert value in cell.offers, (name, target, row)


def test_no_scheme_of_ours_goes_to_a_kernel_that_takes_it_for_mxfp4() -> None:
    (mega,) = (row for row in RULES.refused if row.moe == "deep_gemm_mega_moe")

    assert frozenset(mega.experts) == NVFP4
    assert not any(row.says("moe") == "deep_gemm_mega_moe" for row in RULES.rows)


def test_every_flag_is_spelt_as_this_vllm_takes_it() -> None:
    spellings = read_spellings()
    chosen = {
        choice.name
        for kind in KINDS.values()
        for target in targets()
        for choice in choose_backends(kind, target, RULES).choices
        if choice.is_flag
    }
    told = " ".join(
        [row.why for row in RULES.rows]
        + [row.instead for row in RULES.refused]
        + [row.instead for row in RULES.cache_refused]
        + [gone.instead for gone in read_variables().removed.values()]
    )

    assert "--no-enable-flashinfer-autotune" in chosen
    assert "--disable-flashinfer-autotune" not in spellings
    assert {*chosen, *re.findall(r"--[a-z-]+[a-z]", told)} - spellings.keys() == set()


def test_every_variable_is_one_that_this_vllm_reads() -> None:
    names = {name for row in RULES.rows for name in row.choose.env}

    dead = {name for name in names if name.startswith("VLLM_")}
    assert dead - read_variables().known == set()


def test_every_row_has_its_own_name_a_sentence_and_a_source() -> None:
    names = [row.id for row in RULES.rows]

    assert len(set(names)) == len(names)
    for row in RULES.rows:
        assert row.why.endswith("."), row.id
        assert re.search(r"vLLM 0\.\d+\.\d+, |[a-z]+#\d+", row.source), row.id


def test_a_family_gives_way_to_a_capability_and_both_to_more_conditions() -> None:
    nothing, family = When(), When(capability="12.x")
    one, two = When(capability="12.1"), When(capability="12.x", gated=True)

    assert nothing.rank < family.rank < one.rank < two.rank


@pytest.mark.parametrize(
    ("wanted", "is_met"),
    [(">=0.32", True), (">=0.30,<0.33", True), (">=0.33", False), ("==0.32.0", True)],
)
def test_a_row_may_be_for_some_versions_only(wanted: str, *, is_met: bool) -> None:
    _, _, situation = EVERY[0]

    assert holds(When(vllm=wanted), situation) is is_met


def test_the_choices_are_those_of_the_golden_table() -> None:
    assert table_text() == GOLDEN.read_text()
