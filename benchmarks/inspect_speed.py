"""How fast a checkpoint is inspected, against what else reads its headers.

    .venv/bin/python benchmarks/inspect_speed.py

Makes a checkpoint with the shape of DeepSeek-V4-Pro in a temporary folder, measures
every reader in a process of its own, prints a table, and writes
``benchmarks/results/inspect.json``. Ends with 1 where a target is missed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from synthetic import Made, Shape, make_checkpoint

HERE = Path(__file__).resolve().parent
#: Environment for what is only compared with; made once, and kept.
OTHERS = HERE.parent / ".cache" / "bench-safetensors"
REPEATS = 9
MIB = 1 << 20


def read_ours(folder: Path) -> Callable[[], None]:
    from nvfp4_serve.checkpoint import read_checkpoint, read_layout

    def work() -> None:
        layout = read_layout(read_checkpoint(str(folder)))
        if not layout.servable:
            raise SystemExit(str(layout.findings))

    return work


def read_with_huggingface_hub(folder: Path) -> Callable[[], None]:
    from huggingface_hub import get_local_safetensors_metadata

    return lambda: _ignore(get_local_safetensors_metadata(folder))


def read_with_safetensors(folder: Path) -> Callable[[], None]:
    from safetensors import safe_open

    def work() -> None:
        for shard in sorted(folder.glob("*.safetensors")):
            with safe_open(shard, framework="np") as file:
                for name in file.keys():  # noqa: SIM118  # not a mapping
                    part = file.get_slice(name)
                    part.get_dtype(), part.get_shape()

    return work


def parse_and_keep(folder: Path) -> Callable[[], None]:
    return lambda: _ignore([json.loads(h) for h in _headers(folder)])


def parse_and_drop(folder: Path) -> Callable[[], None]:
    def work() -> None:
        for header in _headers(folder):
            json.loads(header)

    return work


READERS = {
    "ours": read_ours,
    "huggingface_hub": read_with_huggingface_hub,
    "safe_open": read_with_safetensors,
    "json_kept": parse_and_keep,
    "json_dropped": parse_and_drop,
}
WORDS = {
    "ours": "read_checkpoint + read_layout",
    "huggingface_hub": "get_local_safetensors_metadata",
    "safe_open": "safetensors.safe_open loop",
    "json_kept": "json.loads, every header kept",
    "json_dropped": "json.loads, one header at a time",
}


def _headers(folder: Path) -> Iterator[bytes]:
    for shard in sorted(folder.glob("*.safetensors")):
        with shard.open("rb", buffering=0) as file:
            yield file.read(int.from_bytes(file.read(8), "little"))


def _ignore(_: object) -> None:
    """Let go of a result."""


def measure_here(reader: str, folder: Path) -> None:
    """Print the time and the peak memory of one reader in this very process."""
    work = READERS[reader](folder)
    begin, of_processor = time.perf_counter(), time.process_time()
    work()
    taken = {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - of_processor,
        "peak": peak_memory(),
    }
    print(json.dumps(taken))


def peak_memory() -> int:
    """Return the most bytes this process ever held.

    Not ``ru_maxrss``: a new process inherits that from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def measure(readers: dict[str, str], folder: Path) -> dict[str, dict[str, float]]:
    """Return the least seconds and the largest peak of several processes.

    ``readers`` are names, and the Python that runs each. They take turns, so that a
    busy minute of the machine meets all of them; the least is the clock's time with
    the least of other processes in it. All files are in the page cache.
    """
    runs: dict[str, list[dict[str, float]]] = {reader: [] for reader in readers}
    for _ in range(REPEATS):
        for reader, python in readers.items():
            command = [python, __file__, "--measure", reader, str(folder)]
            done = subprocess.run(command, check=True, capture_output=True)
            runs[reader].append(json.loads(done.stdout))
    return {
        reader: {
            "seconds": round(min(run["seconds"] for run in each), 4),
            "cpu_seconds": round(min(run["cpu_seconds"] for run in each), 4),
            "peak_mib": round(max(run["peak"] for run in each) / MIB, 1),
        }
        for reader, each in runs.items()
    }


def python_with_safetensors() -> str | None:
    """Return a Python that has safetensors and numpy; None where none can be had."""
    python = OTHERS / "bin" / "python"
    if not python.exists():
        venv.create(OTHERS, with_pip=True)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "-q",
            "safetensors==0.7.0",
            "numpy",
        ]
        if subprocess.run(install, check=False).returncode:
            python.unlink()
            return None
    return str(python)


def compare(folder: Path) -> dict[str, dict[str, float]]:
    """Return what every reader takes for ``folder``."""
    pythons = dict.fromkeys(READERS, sys.executable)
    other = python_with_safetensors()
    if other is None:
        print("safe_open: skipped; safetensors cannot be installed here")
        del pythons["safe_open"]
    else:
        pythons["safe_open"] = other
    return measure(pythons, folder)


def measure_growth(folder: Path) -> list[dict[str, float]]:
    """Return tensors and seconds at a quarter, a half and the whole."""
    found = []
    for part in (4, 2, 1):
        shape = Shape(layers=-(-61 // part), shards=64 // part)
        place = folder / f"growth-{part}"
        place.mkdir()
        made = make_checkpoint(place, shape)
        taken = measure({"ours": sys.executable}, place)
        found.append({"tensors": made.tensors, **taken["ours"]})
    return found


def measure_remote(folder: Path, made: Made) -> dict[str, float]:
    """Return what the Hub was asked for, counted by a Hub on the loopback."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from hub_server import running_hub

    with running_hub() as hub, tempfile.TemporaryDirectory() as home:
        hub.models["owner/model"] = folder
        environment = {"HF_ENDPOINT": hub.url, "HF_HOME": home, "PATH": os.defpath}
        code = (
            "import time; from nvfp4_serve.checkpoint import read_checkpoint; "
            "import nvfp4_serve.checkpoint.source; begin = time.perf_counter(); "
            "read_checkpoint('owner/model'); print(time.perf_counter() - begin)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            check=True,
            capture_output=True,
        )
        asked = hub.shard_exchanges()
        shard_bytes = sum(e.sent for each in asked.values() for e in each)
        return {
            "seconds": round(float(done.stdout), 3),
            "shards": len(asked),
            "most_requests_a_shard": max(map(len, asked.values())),
            "shard_bytes": shard_bytes,
            "shard_bytes_over_headers": round(shard_bytes / made.header_bytes, 4),
            "all_bytes": hub.bytes_sent(),
        }


def judge(
    local: dict[str, dict[str, float]],
    growth: list[dict[str, float]],
    remote: dict[str, float],
) -> dict[str, bool]:
    """Return every target, and whether it is met."""
    ours = local["ours"]["seconds"]
    small, _, whole = growth
    per_tensor = whole["seconds"] / whole["tensors"]
    targets = {
        "4 x faster than huggingface_hub": ours * 4
        <= local["huggingface_hub"]["seconds"],
        "within 1.5 x of json.loads, dropped": ours
        <= 1.5 * local["json_dropped"]["seconds"],
        "within 1.5 x of json.loads, kept": ours <= 1.5 * local["json_kept"]["seconds"],
        "peak memory at most 200 MB": local["ours"]["peak_mib"] * MIB <= 200e6,
        "linear growth": per_tensor <= 1.25 * small["seconds"] / small["tensors"],
        "at most two requests a shard": remote["most_requests_a_shard"] <= 2,
        "at most 1.1 x the headers": remote["shard_bytes_over_headers"] <= 1.1,
    }
    if "safe_open" in local:
        targets["faster than safe_open"] = ours < local["safe_open"]["seconds"]
    return targets


def main() -> int:
    """Measure everything, print the table, write the results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "whole"
        folder.mkdir()
        made = make_checkpoint(folder, Shape())
        local = compare(folder)
        remote = measure_remote(folder, made)
        growth = measure_growth(Path(name))
    targets = judge(local, growth, remote)
    print(f"{made.tensors:,} tensors, {made.apparent_bytes / (1 << 30):.0f} GiB")
    for reader, taken in local.items():
        ratio = taken["seconds"] / local["ours"]["seconds"]
        print(
            f"  {WORDS[reader]:<34} {taken['seconds']:6.3f} s"
            f"  ({taken['cpu_seconds']:5.3f} s of the processor)"
            f"  {taken['peak_mib']:6.1f} MiB  {ratio:5.2f} x ours"
        )
    for step in growth:
        print(f"  ours, {step['tensors']:>7,} tensors {step['seconds']:>17.2f} s")
    print(f"  remote: {remote}")
    for target, met in targets.items():
        print(f"  {'ok ' if met else 'NO '} {target}")
    result = {
        "versions": {name: version(name) for name in ("huggingface_hub", "msgspec")},
        "load": [round(load, 2) for load in os.getloadavg()],
        "checkpoint": asdict(made),
        "local": local,
        "growth": growth,
        "remote": remote,
        "targets": targets,
    }
    # Not at the top: the Python that has safetensors has no launcher.
    from record import write_result

    write_result("inspect", result)
    return 0 if all(targets.values()) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure_here(sys.argv[2], Path(sys.argv[3]))
    else:
        sys.exit(main())
