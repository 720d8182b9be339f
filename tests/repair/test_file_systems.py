"""The ways to copy, each on a file system that has it; and how much memory it takes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from checkpoint.builders import NVFP4_CONFIG, Stored
from checkpoint.builders import write_checkpoint as write_sparse
from nvfp4_serve.errors import DoesNotFitError
from nvfp4_serve.repair.copying import KernelCopier
from nvfp4_serve.repair.types import Span
from repair.foreign import EXAMPLE, projection_first, read_tensors, write_checkpoint
from repair.running import TESTS, repaired

MIB = 1 << 20


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", *words, str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip(f"`{' '.join(command)}` needs root and the kernel's leave")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def shares_blocks(tmp_path: Path, kind: str) -> Iterator[Path]:
    """Give a folder on a file system that can share blocks."""
    tool = shutil.which(f"mkfs.{kind}") or shutil.which(f"/usr/sbin/mkfs.{kind}")
    if tool is None:
        pytest.skip(f"no mkfs.{kind}: it is in btrfs-progs, or in xfsprogs")
    image = tmp_path / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run([tool, "-q", str(image)], check=True, capture_output=True)
    with mounted(tmp_path / kind, "-o", "loop", str(image)) as folder:
        yield folder


@pytest.mark.parametrize(
    "copier",
    [
        pytest.param(KernelCopier(), id="best"),
        pytest.param(KernelCopier(share=False), id="in-kernel"),
        pytest.param(KernelCopier(share=False, in_kernel=False), id="read-and-write"),
    ],
)
def test_every_way_to_copy_gives_the_same_bytes(
    tmp_path: Path, copier: KernelCopier
) -> None:
    data = os.urandom(3 * MIB + 17)
    (tmp_path / "a").write_bytes(data)
    span = Span(5, 4096, len(data) - 9)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("w+b") as target:
        copier.copy(source.fileno(), target.fileno(), span)

    assert (tmp_path / "b").read_bytes()[4096:] == data[5:-4]


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_blocks_are_shared_where_the_file_system_can(tmp_path: Path, kind: str) -> None:
    with shares_blocks(tmp_path, kind) as folder:
        right = read_tensors(EXAMPLE)
        source = write_checkpoint(folder / "src", projection_first(right))
        said: list[str] = []

        repaired(source, folder / "dst", said=said)

        size = (source / "model.safetensors").stat().st_size
        assert f"{size / 1024:.1f} KiB, " in said[0]
        shared = float(said[0].partition("KiB, ")[2].partition(" KiB shared")[0])
        assert shared * 1024 > 0.95 * size
        assert read_tensors(folder / "dst") == right


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_a_result_has_room_where_its_blocks_are_shared(
    tmp_path: Path, kind: str
) -> None:
    with shares_blocks(tmp_path, kind) as folder:
        source = write_checkpoint(
            folder / "src", projection_first(read_tensors(EXAMPLE))
        )
        with (source / "large.bin").open("wb") as file:
            for _ in range(200):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
        found = os.statvfs(folder)
        assert found.f_bavail * found.f_frsize < 200 * MIB

        repaired(source, folder / "dst")

        assert read_tensors(folder / "dst") == read_tensors(EXAMPLE)


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    tmp_path: Path,
) -> None:
    source = write_checkpoint(tmp_path / "src", projection_first(read_tensors(EXAMPLE)))
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=2m", "none") as folder:
        with pytest.raises(DoesNotFitError, match=r"needs 4\.8 MiB, and 2\.0 MiB") as e:
            repaired(source, folder / "dst")

        assert any("written anew" in line for line in e.value.evidence)
        assert list(folder.iterdir()) == []


_PEAK = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from repair.running import planned, repaired
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(l for l in lines if l.startswith("VmHWM")).split()[1]) * 1024
planned(Path(sys.argv[1]))
before = peak()
repaired(Path(sys.argv[1]), Path(sys.argv[2]))
print(peak() - before)
"""


def test_memory_is_bounded_by_one_expert_and_not_by_the_file(tmp_path: Path) -> None:
    experts, rows, columns = 32, 2048, 2048
    fused = "model.layers.0.mlp.experts.gate_up_proj"
    down = "model.layers.0.mlp.experts.down_proj"
    tensors: dict[str, Stored] = {
        f"{fused}_weight_scale_2": ("F32", ()),
        f"{fused}_input_scale": ("F32", ()),
        f"{down}_weight_scale_2": ("F32", ()),
        f"{down}_input_scale": ("F32", ()),
        "model.embed_tokens.weight": ("BF16", (25_000, 2048)),
        f"{fused}_weight_scale": ("F8_E4M3", (experts, columns // 16, rows)),
        f"{down}_weight_scale": ("F8_E4M3", (experts, rows // 32, columns)),
        fused: ("U8", (experts, columns // 2, rows)),
        down: ("U8", (experts, rows // 4, columns)),
    }
    source = write_sparse(tmp_path / "src", tensors, quantization=NVFP4_CONFIG)
    assert (source / "model.safetensors").stat().st_size > 200 * MIB
    command = [sys.executable, "-c", _PEAK, str(source), str(tmp_path / "dst")]

    done = subprocess.run(
        [*command, str(TESTS)], check=True, capture_output=True, text=True
    )

    matrix = columns // 2 * rows
    assert int(done.stdout) < 2 * matrix + 16 * MIB


def test_a_target_on_another_file_system_gets_the_same_bytes(tmp_path: Path) -> None:
    right = read_tensors(EXAMPLE)
    source = write_checkpoint(tmp_path / "src", projection_first(right))
    said: list[str] = []
    with mounted(tmp_path / "other", "-t", "tmpfs", "-o", "size=16m", "none") as folder:
        repaired(source, folder / "dst", said=said)

        assert read_tensors(folder / "dst") == right
    assert not any("shared" in line for line in said)
