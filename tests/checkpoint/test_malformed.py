"""Whatever is wrong with the files ends in one clear error."""

import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from checkpoint.builders import (
    body_bytes,
    header_of,
    modelopt_moe,
    tensor_count,
    write_checkpoint,
    write_index,
    write_shard,
)
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.errors import CheckpointError, ExitCode

TWO = {"a.weight": ("BF16", (4, 4)), "b.weight": ("BF16", (4, 4))}


def entry(dtype: str, shape: list[object], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def as_header(**tensors: object) -> bytes:
    return json.dumps(
        {name.replace("_", "."): t for name, t in tensors.items()}
    ).encode()


def said_of(folder: Path) -> str:
    """Return everything that the error for ``folder`` says."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(str(folder))
    error = caught.value
    assert error.exit_code is ExitCode.CHECKPOINT
    assert error.fix
    return "\n".join((error.problem, *error.evidence, error.fix))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "too short", id="empty"),
        pytest.param(b"\x08\x00", "too short", id="two-bytes"),
        pytest.param(
            struct.pack("<Q", 1 << 62), "4611686018427387904", id="2-to-the-62"
        ),
        pytest.param(
            struct.pack("<Q", 100_000_001) + b"{}", "the format allows", id="cap"
        ),
        pytest.param(struct.pack("<Q", 0), "the format allows 2", id="no-header"),
        pytest.param(
            struct.pack("<Q", 100) + b"{}", "the whole file has 10", id="truncated"
        ),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="lfs"
        ),
        pytest.param(b"PK\x03\x04" + b"\0" * 40, "zip archive", id="renamed-bin"),
        pytest.param(b"GGUF" + b"\0" * 40, "GGUF", id="renamed-gguf"),
        pytest.param(b"<!DOCTYPE html>" * 4, "web page", id="web-page"),
    ],
)
def test_says_what_is_wrong_with_a_file_that_is_no_shard(
    tmp_path: Path, content: bytes, says: str
) -> None:
    write_checkpoint(tmp_path, TWO)
    (tmp_path / "model.safetensors").write_bytes(content)

    said = said_of(tmp_path)

    assert says in said
    assert "model.safetensors" in said


GOOD = entry("BF16", [4, 4], 0, 32)


@pytest.mark.parametrize(
    ("header", "body", "says"),
    [
        pytest.param(b"not json!", 0, "not JSON", id="not-json"),
        pytest.param(b'{"a": "\xff\xfe"}', 0, "not JSON", id="not-utf8"),
        pytest.param(b"[1, 2, 3]", 0, "list, not an object", id="a-list"),
        pytest.param(b"[" * 50_000 + b"]" * 50_000, 0, "too deep", id="nested"),
        pytest.param(
            b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 0, "deep", id="nested-objects"
        ),
        pytest.param(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            1,
            "'a' stands there twice",
            id="key-twice",
        ),
        pytest.param(
            b'{"a":{"dtype":"U8","shape":[9],"shape":[1],"data_offsets":[0,1]}}',
            1,
            "'shape' stands there twice",
            id="field-twice",
        ),
        pytest.param(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            1,
            "'a' stands there twice",
            id="key-twice-in-disguise",
        ),
        pytest.param(as_header(a=entry("F9", [1], 0, 1)), 1, "'F9'", id="dtype"),
        pytest.param(as_header(a=entry("U8", [-1], 0, 1)), 1, "[-1]", id="negative"),
        pytest.param(as_header(a=entry("U8", [1.5], 0, 1)), 1, "[1.5]", id="fraction"),
        pytest.param(
            as_header(a=entry("U8", [1 << 70], 0, 1)), 1, str(1 << 70), id="huge-side"
        ),
        pytest.param(
            as_header(a=entry("U8", [1 << 40, 1 << 40], 0, 1)),
            1,
            f"needs {1 << 80} bytes",
            id="huge-product",
        ),
        pytest.param(
            as_header(a={"dtype": "U8", "shape": [1]}),
            1,
            "offsets None",
            id="no-offsets",
        ),
        pytest.param(as_header(a=3), 0, "'a' is not an object", id="number-for-tensor"),
        pytest.param(
            as_header(a=GOOD, b=entry("BF16", [4, 4], 16, 48)),
            48,
            "inside of 'a'",
            id="overlap",
        ),
        pytest.param(
            as_header(a=GOOD, b=entry("BF16", [4, 4], 40, 72)),
            72,
            "8 bytes of no tensor before 'b'",
            id="hole",
        ),
        pytest.param(
            as_header(a=GOOD), 40, "8 bytes of no tensor at the end", id="tail"
        ),
        pytest.param(
            as_header(a=GOOD), 16, "end at 32 and the file's at 16", id="out-of-range"
        ),
        pytest.param(
            as_header(a=entry("BF16", [4, 4], 0, 30)),
            30,
            "needs 32 bytes and has 30",
            id="size",
        ),
        pytest.param(
            as_header(a=entry("BF16", [4, 4], 32, 0)), 32, "has -32", id="backwards"
        ),
        pytest.param(
            as_header(a=entry("F4", [3], 0, 1)), 1, "needs None bytes", id="half-a-byte"
        ),
        pytest.param(
            b'{"__metadata__":{"n":1},' + as_header(a=GOOD)[1:],
            32,
            "not text",
            id="metadata",
        ),
    ],
)
def test_says_what_is_wrong_with_a_header(
    tmp_path: Path, header: bytes, body: int, says: str
) -> None:
    write_checkpoint(tmp_path, TWO)
    write_shard(tmp_path / "model.safetensors", header, body)

    said = said_of(tmp_path)

    assert says in said
    assert "model.safetensors" in said


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b'{"a":%s,"__metadata__":{"x":"{y}"}}', id="metadata-last"),
        pytest.param(b'{ "__metadata__" : {"dtype":"x"} , "a":%s }   ', id="spaces"),
        pytest.param(b'{"__metadata__":{"a\\"b":"c"},"a":%s}', id="escape"),
        pytest.param(
            b'{"a":%s,"b":{"data_offsets":[32,32],"shape":[0],"dtype":"U8"}}',
            id="empty-tensor",
        ),
        pytest.param(
            b'{"b":{"dtype":"U8","shape":[2],"data_offsets":[32,34]},"a":%s}',
            id="other-order",
        ),
        pytest.param(
            b'{"a":%s,"b":{"dtype":"U8","shape":[],"data_offsets":[32,33],"more":"x"}}',
            id="more-fields",
        ),
    ],
)
def test_reads_an_unusual_header_that_the_format_allows(
    tmp_path: Path, header: bytes
) -> None:
    write_checkpoint(tmp_path, TWO)
    raw = header % json.dumps(GOOD).encode()
    parsed = json.loads(raw)
    body = max(t["data_offsets"][1] for n, t in parsed.items() if n != "__metadata__")
    write_shard(tmp_path / "model.safetensors", raw, body)

    checkpoint = read_checkpoint(str(tmp_path))

    assert tensor_count(checkpoint) == len(parsed) - ("__metadata__" in parsed)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"{", "not JSON", id="not-json"),
        pytest.param(b"[]", "list, not an object", id="list"),
        pytest.param(b'{"a":' * 100 + b"1" + b"}" * 100, "64 deep", id="deep"),
        pytest.param(b'{"a":' * 90000 + b"1" + b"}" * 90000, "64 deep", id="very-deep"),
        pytest.param(b'{"a":"' + b"x" * (17 << 20) + b'"}', "17.0 MiB", id="too-big"),
        pytest.param(b'{"architectures":"Llama"}', "architectures", id="wrong-kind"),
        pytest.param(
            b'{"quantization_config":[]}', "wrong kind", id="quantization-list"
        ),
        pytest.param(b"version https://git-lfs.github.com/x", "git lfs pull", id="lfs"),
    ],
)
def test_says_what_is_wrong_with_config_json(
    tmp_path: Path, content: bytes, says: str
) -> None:
    write_checkpoint(tmp_path, TWO)
    (tmp_path / "config.json").write_bytes(content)

    with pytest.raises(CheckpointError) as caught:
        read_layout(read_checkpoint(str(tmp_path)))

    error = caught.value
    assert says in "\n".join((error.problem, *error.evidence, error.fix))
    assert "config.json" in error.problem


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _missing_shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").unlink()


def _in_no_shard(folder: Path) -> None:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = "model-00001-of-00002.safetensors"
    write_index(folder, {**index["weight_map"], "ghost.weight": shard})


def _climbing(folder: Path) -> None:
    write_index(folder, {"a.weight": "../../etc/passwd"})


def _absolute(folder: Path) -> None:
    write_index(folder, {"a.weight": "/etc/passwd"})


def _index_of_numbers(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": 1}}')


def _index_without_map(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")


def _empty_index(folder: Path) -> None:
    write_index(folder, {})


def _in_two_shards(folder: Path) -> None:
    shard = folder / "model-00002-of-00002.safetensors"
    both = {"a.weight": TWO["a.weight"], "b.weight": TWO["b.weight"]}
    write_shard(shard, header_of(both), body_bytes(both))


def _link_outside(folder: Path) -> None:
    shard = folder / "model-00002-of-00002.safetensors"
    elsewhere = folder.parent / "elsewhere.safetensors"
    shard.rename(elsewhere)
    shard.symlink_to(elsewhere)


def _dangling_link(folder: Path) -> None:
    _missing_shard(folder)
    (folder / "model-00002-of-00002.safetensors").symlink_to(folder / "gone")


def _link_loop(folder: Path) -> None:
    _missing_shard(folder)
    link = folder / "model-00002-of-00002.safetensors"
    link.symlink_to(link)


def _fifo(folder: Path) -> None:
    _missing_shard(folder)
    os.mkfifo(folder / "model-00002-of-00002.safetensors")


def _folder_for_shard(folder: Path) -> None:
    _missing_shard(folder)
    (folder / "model-00002-of-00002.safetensors").mkdir()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_config, "no `config.json`"),
        (_missing_shard, "`model-00002-of-00002.safetensors` is missing"),
        (_in_no_shard, "ghost.weight"),
        (_climbing, "'../../etc/passwd', outside of its folder"),
        (_absolute, "'/etc/passwd', outside of its folder"),
        (_index_of_numbers, "weight_map"),
        (_index_without_map, "weight_map"),
        (_empty_index, "names no tensor"),
        (_in_two_shards, "a.weight"),
        (_link_outside, "outside of the checkpoint"),
        (_dangling_link, "is missing"),
        (_link_loop, "cannot be read"),
        (_fifo, "not a regular file"),
        (_folder_for_shard, "not a regular file"),
    ],
)
def test_says_what_is_wrong_with_a_folder(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    folder = write_checkpoint(tmp_path / "model", TWO, shards=2)
    spoil(folder)

    assert says in said_of(folder)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ((), "files there: none"),
        (("pytorch_model.bin",), "another format"),
        (("model.gguf", "README.md"), "model.gguf"),
        (("README.md",), "README.md"),
    ],
)
def test_says_what_is_there_where_no_safetensors_file_is(
    tmp_path: Path, names: tuple[str, ...], says: str
) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")

    said = said_of(tmp_path)

    assert says in said
    assert "no `config.json`" in said


def test_reports_the_faults_of_every_file_together(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, modelopt_moe(), shards=3)
    (tmp_path / "config.json").write_text("[]")
    (tmp_path / "model-00001-of-00003.safetensors").write_bytes(b"")
    (tmp_path / "model-00003-of-00003.safetensors").unlink()

    said = said_of(tmp_path)

    assert "3 faults" in said
    assert "config.json" in said
    assert "model-00001-of-00003.safetensors` is too short" in said
    assert "model-00003-of-00003.safetensors` is missing" in said


def test_says_that_a_folder_is_not_there(tmp_path: Path) -> None:
    assert "There is no folder" in said_of(tmp_path / "gone")


def test_says_that_a_path_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert "cannot be read" in said_of(tmp_path / "file")


@contextmanager
def as_a_user() -> Iterator[None]:
    """Give up root's right to read everything, where we have it."""
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(me)


def test_says_that_a_shard_may_not_be_read() -> None:
    # Not tmp_path: its parents are closed to the user that we become.
    with tempfile.TemporaryDirectory() as name:
        folder = write_checkpoint(Path(name), TWO)
        folder.chmod(0o755)
        (folder / "model.safetensors").chmod(0)

        with as_a_user():
            said = said_of(folder)

    assert "`model.safetensors` cannot be read: Permission denied" in said


def test_says_that_a_folder_may_not_be_read(tmp_path: Path) -> None:
    tmp_path.chmod(0)

    with as_a_user():
        said = said_of(tmp_path)
    tmp_path.chmod(0o755)

    assert "Permission denied" in said


def test_says_that_the_links_of_a_folder_form_a_loop(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    said = said_of(tmp_path / "loop")

    # Python before 3.13 notices it first, later ones leave it to the kernel.
    assert "its links form a loop" in said or "Too many levels of symbolic" in said


def test_says_that_a_home_is_not_known() -> None:
    assert "home folder" in said_of(Path("~nobody-of-that-name/model"))


def test_refuses_a_revision_of_a_folder(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, TWO)

    with pytest.raises(CheckpointError, match="has no revision"):
        read_checkpoint(str(tmp_path), revision="main")
