"""How fast a checkpoint of 4 GB is repaired, against `cp` of the same folder.

    .venv/bin/python benchmarks/repair_speed.py

Two repairs: of the config alone, and of names (``experts.PROJECTION.N``). What writes
is timed until its bytes are on the disk: `cp -r` and then fsync of every file; a repair
until it begins to verify. `cp` alone, and a repair with its verification, are told
apart. Everything takes turns, with the source in memory; the least of the runs counts.
Where root and btrfs-progs are there, the repairs are run on a btrfs of their own as
well, which shares blocks.

Needs 13 GB of disk. Writes ``benchmarks/results/repair.json``; ends with 1 where the
target is missed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Overlay
from nvfp4_serve.repair import plan_repair, run_repair

REPEATS = 3
SHARDS, LAYERS, EXPERTS, HIDDEN, INNER = 4, 12, 128, 2048, 768
QUANTIZATION = {
    "quant_method": "modelopt",
    "quant_algo": "NVFP4",
    "ignore": ["lm_head"],
    "producer": {"name": "modelopt", "version": "0.47.0"},
}
EXPERT_FIRST = re.compile(rb"experts\.(\d+)\.(\w+_proj)\.")
PROJECTION_FIRST = re.compile(rb"experts\.(\w+_proj)\.(\d+)\.")
TARGET = 0.9


def make_checkpoint(folder: Path) -> int:
    """Write a right checkpoint; return the bytes of its shards."""
    folder.mkdir()
    config = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "num_hidden_layers": LAYERS,
        "quantization_config": QUANTIZATION,
    }
    (folder / "config.json").write_text(json.dumps(config))
    noise = os.urandom(64 << 20)
    weight_map: dict[str, str] = {}
    size = 0
    for number in range(SHARDS):
        name = f"model-{number + 1:05d}-of-{SHARDS:05d}.safetensors"
        layers = range(number, LAYERS, SHARDS)
        size += _write_shard(folder / name, layers, noise, weight_map)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return size


def _write_shard(
    path: Path, layers: range, noise: bytes, weight_map: dict[str, str]
) -> int:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    tensors = [tensor for layer in layers for tensor in _tensors(layer)]
    for name, dtype, shape, size in sorted(tensors, key=lambda t: (t[1], t[0])):
        offsets = (at, at + size)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        weight_map[name] = path.name
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for begin in range(0, at, len(noise)):
            file.write(noise[: at - begin])
        os.fsync(file.fileno())
    return at


def _tensors(layer: int) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    for expert in range(EXPERTS):
        for projection in ("gate_proj", "up_proj", "down_proj"):
            module = f"model.layers.{layer}.mlp.experts.{expert}.{projection}"
            rows, cols = (INNER, HIDDEN)
            if projection == "down_proj":
                rows, cols = cols, rows
            yield f"{module}.weight", "U8", (rows, cols // 2), rows * cols // 2
            scales = (rows, cols // 16)
            yield f"{module}.weight_scale", "F8_E4M3", scales, rows * cols // 16
            yield f"{module}.weight_scale_2", "F32", (), 4
            yield f"{module}.input_scale", "F32", (), 4


def rename(folder: Path, pattern: re.Pattern[bytes], order: bytes) -> None:
    """Change the names in the headers and the index; they stay as long as they were."""
    for path in folder.glob("*.safetensors"):
        with path.open("r+b") as file:
            text = file.read(int.from_bytes(file.read(8), "little"))
            file.seek(8)
            file.write(pattern.sub(order, text))
            os.fsync(file.fileno())
    index = folder / "model.safetensors.index.json"
    index.write_bytes(pattern.sub(order, index.read_bytes()))


def copy(source: Path, target: Path) -> dict[str, float]:
    """Return the seconds of `cp -r`, and until its bytes are on the disk."""
    begin = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    copied = time.perf_counter()
    for path in target.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return {"copied": copied - begin, "written": time.perf_counter() - begin}


def repair(source: Path, target: Path) -> dict[str, float]:
    """Return the seconds until all is written, and until it is verified and there."""
    begin = time.perf_counter()
    checkpoint = read_checkpoint(str(source))
    layout = read_layout(checkpoint)
    if not layout.rewrites:
        layout = replace(layout, overlay=Overlay(QUANTIZATION, ("For a benchmark.",)))
    marks: list[float] = []

    def say(line: str) -> None:
        if line == "verifying":
            marks.append(time.perf_counter())

    run_repair(plan_repair(checkpoint, layout), target, say)
    return {"written": marks[0] - begin, "verified": time.perf_counter() - begin}


def measure(folder: Path, source: Path, *, with_cp: bool = True) -> dict[str, object]:
    """Return the least seconds of each; they take turns."""
    runs: dict[str, list[dict[str, float]]] = {"cp": [], "config": [], "names": []}
    for _ in range(REPEATS):
        for what, taken in runs.items():
            if what == "cp" and not with_cp:
                continue
            if what == "names":
                rename(source, EXPERT_FIRST, rb"experts.\2.\1.")
            os.sync()
            _read(source)
            target = folder / "target"
            taken.append((copy if what == "cp" else repair)(source, target))
            print(f"  {what}: {taken[-1]}", flush=True)
            shutil.rmtree(target)
            if what == "names":
                rename(source, PROJECTION_FIRST, rb"experts.\2.\1.")
    return {
        what: {key: round(min(run[key] for run in each), 3) for key in each[0]}
        for what, each in runs.items()
        if each
    }


def _read(folder: Path) -> None:
    """Have all of the source in memory, as it was for whoever came before."""
    for path in folder.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


@contextmanager
def btrfs(folder: Path) -> Iterator[Path | None]:
    """Give a folder on a btrfs; None where there can be none."""
    image, mount = folder / "btrfs.img", folder / "btrfs"
    tool = shutil.which("mkfs.btrfs")
    if tool is None or os.geteuid() != 0:
        yield None
        return
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(7 << 30)
    subprocess.run([tool, "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)
        image.unlink()


def main() -> int:
    """Measure, print the ratios, write the results."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        size = make_checkpoint(folder / "source")
        plain = measure(folder, folder / "source")
        shared = None
        with btrfs(folder) as other:
            if other is not None:
                shutil.move(folder / "source", other / "source")
                print("on btrfs", flush=True)
                shared = measure(other, other / "source", with_cp=False)
    seconds = json.loads(json.dumps(plain))
    cp = seconds.pop("cp")
    ratios = {
        what: {
            "of cp, both until on the disk": round(cp["written"] / t["written"], 3),
            "of cp alone, which leaves them in memory": round(
                cp["copied"] / t["written"], 3
            ),
            "with verification, of cp until on the disk": round(
                cp["written"] / t["verified"], 3
            ),
        }
        for what, t in seconds.items()
    }
    for what, each in ratios.items():
        for label, ratio in each.items():
            print(f"{what}: {ratio:.2f} x the speed {label}")
    targets = {
        f"{what}: at least {TARGET} x the speed of cp": each[
            "of cp, both until on the disk"
        ]
        >= TARGET
        for what, each in ratios.items()
    }
    for label, met in targets.items():
        print(f"  {'ok ' if met else 'NO '} {label}")
    # Not at the top: that would be measured too.
    from record import write_result

    result = {
        "load": [round(load, 2) for load in os.getloadavg()],
        "bytes": size,
        "seconds": plain,
        "seconds_on_btrfs": shared,
        "ratios": ratios,
        "targets": targets,
    }
    write_result("repair", result)
    return 0 if all(targets.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
