"""Tokens a second of an NVFP4 model and of its bf16 twin, on one patched CPU engine.

Usage: python benchmarks/cpu_tokens.py --engine PYTHON --producer PYTHON [--keep FOLDER]

Makes a model with real ModelOpt (random weights, from a seed) and its twin, the same
weights dequantised to bf16. Loads both, asks them in turn, and takes medians. Writes
benchmarks/results/cpu_tokens.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_TOP = Path(__file__).resolve().parents[1]
_MAKERS = _TOP / "tests" / "patches"
_MODEL = "moe-large-w4a4"
#: Tokens decoded in one measurement, for each of the prompts of a batch.
_NEW_TOKENS = 96
_BATCHES = (1, 8)
_ROUNDS = 5
#: The promise: NVFP4 is at least this fast, bf16 being 1.
_WANTED_RATIO = 0.9


def main() -> int:
    """Measure, print, write; return 0 where the promise is kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", required=True, help="Python of a patched engine")
    parser.add_argument("--producer", required=True, help="Python of ModelOpt")
    parser.add_argument("--keep", type=Path, help="where the models are, or shall be")
    parser.add_argument("--child", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _answer(options.child)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        models = _models(folder, options.producer)
        measured = _measure(models, options)
    result = _summary(measured)
    # Not at the top: a child runs under the engine's Python, which has no launcher.
    from record import write_result

    write_result("cpu_tokens", result)
    print(json.dumps(result, indent=2))
    return 0 if all(row["ratio"] >= _WANTED_RATIO for row in result["batches"]) else 1


def _models(folder: Path, producer: str) -> dict[str, Path]:
    """Return the two model folders, made where they are not there yet."""
    packed, plain = folder / _MODEL, folder / f"{_MODEL}-plain"
    if not packed.exists():
        maker = str(_MAKERS / "make_checkpoints.py")
        subprocess.run([producer, maker, str(folder), _MODEL], check=True)
    if not plain.exists():
        twin = str(_MAKERS / "plain_twin.py")
        subprocess.run([producer, twin, str(packed), str(plain)], check=True)
    return {"nvfp4": packed, "bf16": plain}


def _measure(
    models: dict[str, Path], options: argparse.Namespace
) -> dict[str, dict[int, list[float]]]:
    """Return tokens a second: by model, by batch, one a round; the models in turn."""
    children = {
        name: subprocess.Popen(
            [options.engine, __file__, "--engine", "", "--producer", "", "--child", m],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name, m in models.items()
    }
    measured: dict[str, dict[int, list[float]]] = {
        name: {batch: [] for batch in _BATCHES} for name in children
    }
    try:
        for child in children.values():
            _ask(child, _BATCHES[-1])  # warm
        for batch in _BATCHES:
            for _ in range(_ROUNDS):
                for name, child in children.items():
                    measured[name][batch].append(_ask(child, batch))
    finally:
        for child in children.values():
            child.kill()
            child.wait()
    return measured


def _ask(child: subprocess.Popen[str], batch: int) -> float:
    told, heard = child.stdin, child.stdout
    if told is None or heard is None:
        raise ValueError("the child has no pipes")
    told.write(f"{batch}\n")
    told.flush()
    for line in heard:
        if line.startswith("tokens/s "):
            return float(line.split()[1])
    raise SystemExit("a model did not load; run with --child MODEL to see why")


def _answer(model: str) -> None:
    """Load ``model``; for each batch size read, decode, and print tokens a second."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams

    llm = LLM(
        model,
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=256,
        kv_cache_memory_bytes=256 << 20,
        enable_prefix_caching=False,
    )
    wanted = SamplingParams(
        temperature=0, max_tokens=_NEW_TOKENS, ignore_eos=True, detokenize=False
    )
    for line in sys.stdin:
        batch = int(line)
        prompts = [
            {"prompt_token_ids": [3 + (7 * row + at) % 4000 for at in range(16)]}
            for row in range(batch)
        ]
        start = time.perf_counter()
        llm.generate(prompts, wanted, use_tqdm=False)
        seconds = time.perf_counter() - start
        print(f"tokens/s {batch * _NEW_TOKENS / seconds:.3f}", flush=True)


def _summary(measured: dict[str, dict[int, list[float]]]) -> dict[str, Any]:
    rows = []
    for batch in _BATCHES:
        nvfp4, bf16 = (
            statistics.median(measured[name][batch]) for name in ("nvfp4", "bf16")
        )
        rows.append(
            {
                "batch": batch,
                "nvfp4_tokens_per_second": round(nvfp4, 2),
                "bf16_tokens_per_second": round(bf16, 2),
                "ratio": round(nvfp4 / bf16, 3),
            }
        )
    return {
        "what": f"{_MODEL}, {_NEW_TOKENS} tokens decoded, median of {_ROUNDS}",
        "wanted_ratio": _WANTED_RATIO,
        "batches": rows,
    }


if __name__ == "__main__":
    sys.exit(main())
