"""How long a plan takes: of a model with a recipe, and of everything on every machine.

`plan` runs alternately with `--help`, so that what is measured is the planning. The
limit is for the processor's time, which others on the same machine change less; the
time on the clock stands beside it. The folders are named as models that recipes are for
are, and hold headers of their whole size, constructed, with sparse bodies. All recipes
of ours are loaded and held against every machine of `tests/data/hosts`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import write_result

from nvfp4_serve.checkpoint import read_layout
from nvfp4_serve.checkpoint.facts import read_facts as read_checkpoint_facts
from nvfp4_serve.host import read_facts
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.load import load_recipes

ROUNDS = 15
HELP, FOLDER = "nvfp4-serve --help", "plan FOLDER (with a recipe, dense)"
TOP = Path(__file__).parents[1]
LAUNCHER = Path(sys.executable).with_name("nvfp4-serve")
HOSTS = TOP / "tests/data/hosts"
CHECKPOINTS = TOP / "tests/data/checkpoints"
FACTS = CHECKPOINTS / "deepseek-v4-pro-nvfp4-fp8-mtp.json"
MODEL = "canada-quant/DeepSeek-V4-Pro-NVFP4-FP8-MTP"
DENSE = "nvidia/Llama-3.1-8B-Instruct-NVFP4"
MANY = "nvidia/Qwen3.6-35B-A3B-NVFP4"
#: Seconds. What a plan of the folder may take beyond `--help`, and all verdicts.
PLAN_LIMIT, VERDICTS_LIMIT = 0.250, 2.0


def main() -> int:
    """Measure, print and record; return 1 where a limit is broken."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _medians(_commands(Path(folder)))
    judged = _judge_everything()
    base = rows[HELP]
    for name, row in rows.items():
        row["beyond_help"] = round(row["processor"] - base["processor"], 4)
        print(
            f"{name:<48} {row['processor']:6.3f} s  +{row['beyond_help']:.3f} s"
            f"  ({row['clock']:.3f} s on the clock)"
        )
    print(
        f"{judged['recipes']} recipes x {judged['hosts']} machines: "
        f"{judged['verdicts']} verdicts in {judged['seconds']:.3f} s"
    )
    write_result("plan", {"rounds": ROUNDS, "commands": rows, "judged": judged})
    is_slow = rows[FOLDER]["beyond_help"] > PLAN_LIMIT
    return int(is_slow or judged["seconds"] > VERDICTS_LIMIT)


def _commands(folder: Path) -> dict[str, list[str]]:
    host = ["--facts", str(HOSTS / "b300x8.json")]
    plan = [str(LAUNCHER), "plan"]
    return {
        HELP: [str(LAUNCHER), "--help"],
        FOLDER: [*plan, str(_local(folder / DENSE)), *host],
        "plan FOLDER (with a recipe, 256 experts)": [
            *plan, str(_local(folder / MANY)), *host,
        ],
        "plan MODEL --checkpoint-facts (72,787 modules)": [
            *plan, MODEL, "--checkpoint-facts", str(FACTS), *host,
        ],
    }  # fmt: skip


def _local(folder: Path) -> Path:
    """Write the checkpoint that the facts describe, with a sparse body."""
    folder.mkdir(parents=True)
    checkpoint = read_checkpoint_facts(CHECKPOINTS / f"{folder.name.lower()}.json")
    (folder / "config.json").write_text(json.dumps(checkpoint.config))
    if checkpoint.hf_quant_config is not None:
        text = json.dumps(checkpoint.hf_quant_config)
        (folder / "hf_quant_config.json").write_text(text)
    entries: dict[str, object] = {}
    at = 0
    for group in checkpoint.groups:
        for member in group.members:
            for tensor in group.tensors:
                entries[f"{member}.{tensor.suffix}"] = {
                    "dtype": tensor.dtype,
                    "shape": tensor.shape,
                    "data_offsets": [at, at := at + tensor.bytes],
                }
    header = json.dumps(entries).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + at)
    return folder


def _medians(commands: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Return the seconds of the processor and of the clock that each command takes."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    # Everybody's byte code is cached, as it is for a user.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(ROUNDS + 1):
        for name, words in commands.items():
            before, started = os.times(), time.perf_counter()
            subprocess.run(words, capture_output=True, env=kept, check=True)
            after, clock = os.times(), time.perf_counter() - started
            processor = sum(after[2:4]) - sum(before[2:4])
            spent[name].append((processor, clock))
    # The first round fills the page cache.
    return {
        name: {
            kind: round(statistics.median(values[place] for values in both[1:]), 4)
            for place, kind in enumerate(("processor", "clock"))
        }
        for name, both in spent.items()
    }


def _judge_everything() -> dict[str, float]:
    """Load every recipe and hold it against every machine; the best of three."""
    files = sorted(HOSTS.glob("*.json"))
    hosts = [read_facts(file) for file in files]
    layout = read_layout(read_checkpoint_facts(FACTS))
    best = float("inf")
    recipes, verdicts = 0, 0
    for _ in range(3):
        started = time.perf_counter()
        loaded = load_recipes()
        judged = [judge(loaded, layout, host, nodes=1) for host in hosts]
        best = min(best, time.perf_counter() - started)
        recipes, verdicts = len(loaded), sum(map(len, judged))
    return {
        "recipes": recipes,
        "hosts": len(hosts),
        "verdicts": verdicts,
        "seconds": round(best, 4),
    }


if __name__ == "__main__":
    sys.exit(main())
