"""YAML as we take it: what it plainly says, or every fault with its line."""

from pathlib import Path

import msgspec
import pytest

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.yaml_files import convert, parse_yaml, read_yaml


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    words: tuple[str, ...] = ()


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    value: bool | int | float | str | dict[str, int] | None = None
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}


def read(text: str | bytes) -> Outer:
    raw = text.encode() if isinstance(text, str) else text
    return convert(parse_yaml(raw, "file.yaml"), Outer)


def faults(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        read(text)
    assert caught.value.problem == "file.yaml is not right."
    assert caught.value.fix
    return caught.value.evidence


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("12", 12),
        ("-3", -3),
        ("0.5", 0.5),
        ("fp8", "fp8"),
        ("x86_64", "x86_64"),
        ("v1.2.3", "v1.2.3"),
        ('"a: b, no #c"', "a: b, no #c"),
        ('"no"', "no"),
        ("'2026-11-21'", "2026-11-21"),
        ("{a: 1}", {"a": 1}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_a_value_is_what_it_plainly_says(text: str, value: object) -> None:
    assert read(f"id: a\nvalue: {text}\n").value == value


@pytest.mark.parametrize(
    "text",
    [
        *("no", "No", "yes", "on", "OFF", "y", "N", "~", "Null", "True", "FALSE"),
        *("010", "0o17", "0x1F", "0b1", "1_000", "+1", "1.", ".5", "1e5", "1.5e3"),
        *("12:30", "1:30:00", "2026-11-21", "2026-11-21T10:00:00Z", ".inf", "-.INF"),
        *(".nan", "<<", "="),
    ],
)
def test_a_word_that_is_something_else_to_another_yaml_is_refused(text: str) -> None:
    (fault,) = faults(f"id: a\nvalue: {text}\n")

    assert fault.startswith(f"line 2: `{text}` is not the same to every YAML")
    assert "quotes" in fault


def test_a_value_that_is_missing_is_refused() -> None:
    assert faults("id: a\nvalue:\n") == (
        'line 2: nothing stands here; write null, "", {} or []',
    )


def test_a_key_that_stands_twice_is_refused_with_both_lines() -> None:
    text = "id: a\ninner:\n  count: 1\n  count: 2\n"

    assert faults(text) == ("line 4: `inner.count` stands here and on line 3",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("id: &a x\n", "`&a`: anchors are not taken", id="anchor"),
        pytest.param("id: *a\n", "`*a`: aliases are not taken", id="alias"),
        pytest.param(
            "id: !!python/object/apply:os.system [x]\n", "tags are not taken", id="tag"
        ),
        pytest.param("id: !x y\n", "tags are not taken", id="own-tag"),
        pytest.param("id: a\n---\nid: b\n", "a second document", id="documents"),
        pytest.param("id: a\n\tvalue: 1\n", "indent with spaces", id="tab"),
        pytest.param("id: 'a\n", "unexpected end of stream", id="open-quote"),
        pytest.param("a: b: c\n", "mapping values are not allowed", id="two-colons"),
        pytest.param("? [a]\n: b\n", "a key must be a text", id="list-as-key"),
        pytest.param("1: a\n", "the key `1` is not a text", id="number-as-key"),
        pytest.param("", "it is empty", id="empty"),
        pytest.param("# a comment\n", "it is empty", id="comment"),
        pytest.param(b"id: \xff\n", "it is not UTF-8", id="bytes"),
        pytest.param("id: a\x00b\n", "#x0000", id="nul"),
        pytest.param("- a\n", "wanted a mapping, found a list", id="list"),
        pytest.param("a\n", "wanted a mapping, found 'a'", id="text"),
        pytest.param("[" * 100_000, "nested deeper", id="deep-list"),
        pytest.param("{a: " * 100_000, "nested deeper", id="deep-mapping"),
        pytest.param("x" * (10 << 20), "over 1 MiB", id="ten-megabytes"),
        pytest.param("id: " + "9" * 5000, "a number of 5000 characters", id="digits"),
    ],
)
def test_what_is_more_or_less_than_plain_yaml_is_refused(
    text: str | bytes, says: str
) -> None:
    assert any(says in fault for fault in faults(text))


def test_aliases_that_would_grow_without_end_cost_nothing() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]

    said = faults("\n".join(lines))

    assert "line 2: `*a0`: aliases are not taken; write it out" in said


def test_every_fault_of_a_file_is_said_at_once_with_line_and_key() -> None:
    text = """\
id: 1.5
vlaue: 1
inner: {count: x, words: [a, 1]}
many:
  - {count: 1}
  - {cuont: 2}
named:
  --block-size: {count: null}
"""

    assert faults(text) == (
        "line 1: `id`: expected `str`, got `float`: 1.5; put it in quotes",
        "line 2: `vlaue`: no such key; did you mean `value`?",
        "line 3: `inner.count`: expected `int`, got `str`: 'x'",
        "line 3: `inner.words[1]`: expected `str`, got `int`: 1; put it in quotes",
        "line 6: `many[1].cuont`: no such key; did you mean `count`?",
        "line 6: `many[1]`: the key `count` is missing",
        "line 8: `named.--block-size.count`: expected `int`, got `null`: null",
    )


def test_keys_that_begin_with_x_are_free_wherever_a_key_of_ours_stands() -> None:
    text = "x-note: {any: [1]}\nid: a\ninner: {count: 1, x-by: me}\n"

    assert read(text) == Outer("a", inner=Inner(1))


def test_a_free_key_does_not_hide_a_fault() -> None:
    assert faults("x-note: 1\nid: a\nvalue: [1]\n")


def test_a_file_that_is_not_there_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml cannot be read"):
        read_yaml(tmp_path / "none.yaml", Outer)


def test_a_file_is_read_as_a_value(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("id: a\nmany: [{count: 1}, {count: 2}]\n")

    assert read_yaml(path, Outer).many == (Inner(1), Inner(2))
