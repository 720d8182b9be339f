"""``series.py check``, ``list``, ``lock`` and ``digest``: the words around a patch."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from patches.conftest import HEADER, PATCH, TOP, Bench

#: Each runs the tool a few times; `make patches` runs them too.
pytestmark = pytest.mark.slow

SERIES = TOP / "patches" / "series.py"
FIELDS = [line.partition(":")[0] for line in HEADER.splitlines() if line[0] != " "]


def _ours(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(SERIES), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_our_own_patches_are_in_order() -> None:
    done = _ours("check")

    assert done.returncode == 0, done.stderr


def test_a_folder_in_order_passes(bench: Bench) -> None:
    done = bench.run("check")

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_required(bench: Bench, field: str) -> None:
    lines = HEADER.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith((f"{field}:", " "))]
    bench.write(bench.series_folder / "hello.patch", "".join(kept) + PATCH)

    done = bench.run("check")

    assert done.returncode == 60
    assert f"hello.patch: the field {field} is missing" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("Origin: vendor", "Origin: me", "Origin is"),
        ("Origin: vendor", "Origin: upstream, https://x.org/1", "Bug is"),
        ("Forwarded: no", "Forwarded: perhaps", "Forwarded is"),
        ("2026-11-21", "21.11.2026", "Last-Update is"),
        ("==1.0", "==1.1", "Applies-To is not ==1.0"),
        ("tests/test_hello.py", "tests/test_bye.py", "test_bye.py does not exist"),
        ("Bug: none", "Bugs: none", "no field"),
        ('+    print("hello")', '+    print("hello") ', "adds trailing whitespace"),
    ],
)
def test_a_wrong_word_is_named(bench: Bench, old: str, new: str, says: str) -> None:
    text = (HEADER + PATCH).replace(old, new)
    bench.write(bench.series_folder / "hello.patch", text)

    done = bench.run("check")

    assert done.returncode == 60
    assert says in done.stderr


def test_a_patch_that_is_not_in_the_series_is_named(bench: Bench) -> None:
    bench.write(bench.series_folder / "stray.patch", HEADER + PATCH)

    done = bench.run("check")

    assert done.returncode == 60
    assert "stray.patch is not named" in done.stderr


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("vllm/1.0/hello.patch", "patches: hello.patch"),
        ("plugin/our_plugin/__init__.py", "plugin: our_plugin/__init__.py"),
    ],
)
def test_a_lock_that_is_not_current_is_refused(
    bench: Bench, path: str, named: str
) -> None:
    text = (bench.root / path).read_text()
    changed = text.replace("hello twice", "hello again").replace("'x'", "'y'")
    bench.write(bench.root / path, changed)

    for verb in (["check"], ["apply", bench.site]):
        done = bench.run(*verb)

        assert done.returncode == 60
        assert "lock of 1.0 is not current" in done.stderr
        assert f"  {named}\n" in done.stderr


def test_lock_prints_what_changed(bench: Bench) -> None:
    bench.write(bench.root / "plugin" / "our_plugin" / "__init__.py", "name = 'y'\n")

    done = bench.run("lock", "--from", bench.site)

    assert done.stdout.startswith("plugin: our_plugin/__init__.py\ndigest: ")


def test_the_digest_follows_what_is_installed_and_not_the_words(bench: Bench) -> None:
    first = bench.run("digest").stdout
    patch = bench.series_folder / "hello.patch"
    patch.write_text(patch.read_text().replace("hello twice", "hello two times"))
    bench.lock()
    other_words = bench.run("digest").stdout
    bench.write(bench.root / "plugin" / "our_plugin" / "__init__.py", "name = 'y'\n")
    bench.lock()
    other_plugin = bench.run("digest").stdout

    assert len(first.strip()) == 64
    assert other_words == first
    assert other_plugin != first


def test_the_digest_is_there_at_once() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        _ours("digest", "--vllm", "0.32.0")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5


def test_list_has_a_line_for_each_patch() -> None:
    rows = json.loads(_ours("list", "--json").stdout)
    lines = _ours("list").stdout.splitlines()

    assert len(lines) == len(rows) >= 1
    assert all(set(row) == {"name", "bug", "status", "applies_to", "test"}
               for row in rows)  # fmt: skip
