"""What the adapter adds to loading a checkpoint that needs nothing.

    .venv/bin/python benchmarks/adapter_overhead.py --engine ENGINE/bin/python

Makes 2 GiB with the shapes of Qwen3-30B-A3B's experts, lets vLLM's own iterator read
them with the adapter and without, in turns, and copies each tensor as a loader does.
Writes ``benchmarks/results/adapter_overhead.json``. Ends with 1 where a target is
missed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

#: Target: the adapter's own seconds, of the seconds of a load without it.
MOST_OVERHEAD = 0.01
#: Target: headers described and judged, with the shape of DeepSeek-V4-Pro.
MOST_SECONDS = 5.0
LAYERS, EXPERTS, SHARDS = 6, 128, 4
REPEATS = 7


def make_experts(folder: Path) -> None:
    """Write the checkpoint; its values are random bytes."""
    import torch
    from safetensors.torch import save_file

    shapes = {
        "gate_proj": (768, 2048),
        "up_proj": (768, 2048),
        "down_proj": (2048, 768),
    }
    parts: list[dict[str, torch.Tensor]] = [{} for _ in range(SHARDS)]
    for index in range(LAYERS * EXPERTS):
        layer, expert = divmod(index, EXPERTS)
        part = parts[index * SHARDS // (LAYERS * EXPERTS)]
        for projection, (rows, cols) in shapes.items():
            name = f"model.layers.{layer}.mlp.experts.{expert}.{projection}"
            scale = torch.randint(40, 100, (rows, cols // 16), dtype=torch.uint8)
            part[f"{name}.weight"] = torch.randint(
                0, 256, (rows, cols // 2), dtype=torch.uint8
            )
            part[f"{name}.weight_scale"] = scale.view(torch.float8_e4m3fn)
            part[f"{name}.weight_scale_2"] = torch.rand(())
            part[f"{name}.input_scale"] = torch.rand(())
    for number, part in enumerate(parts):
        save_file(part, folder / f"model-{number:05d}.safetensors")


def measure_here(folder: Path, shape: Path) -> None:
    """Print what the engine of this very process takes."""
    from nvfp4_layouts.rewrite import make_rewrite
    from nvfp4_serve_engine.headers import read_headers
    from vllm.config.load import LoadConfig
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    make_experts(folder)
    files = sorted(map(str, folder.glob("*.safetensors")))
    loader = DefaultModelLoader(LoadConfig(use_tqdm_on_load=False))
    source = loader.Source(str(folder), None)
    plain = loader._get_weights_iterator  # noqa: SLF001
    from nvfp4_serve_engine import adapter

    adapter.install()
    adapted = loader._get_weights_iterator  # noqa: SLF001
    taken: dict[str, list[float]] = {"plain": [], "adapted": [], "hook": []}
    for _ in range(REPEATS):
        taken["plain"].append(_seconds(lambda: _load(plain(source))))
        taken["adapted"].append(_seconds(lambda: _load(adapted(source))))
        taken["hook"].append(
            _seconds(lambda: make_rewrite(read_headers(files), "Qwen3MoeForCausalLM"))
        )
    large = sorted(map(str, shape.glob("*.safetensors")))
    tensors = read_headers(large)
    headers = min(_seconds(lambda: read_headers(large)) for _ in range(3))
    rewrite = min(_seconds(lambda: make_rewrite(tensors, None)) for _ in range(3))
    print(
        json.dumps(
            {
                "tensors": len(read_headers(files)),
                "bytes": sum(os.stat(file).st_size for file in files),  # noqa: PTH116
                "seconds": {name: round(min(each), 4) for name, each in taken.items()},
                "large": {
                    "tensors": len(tensors),
                    "headers_seconds": round(headers, 3),
                    "rewrite_seconds": round(rewrite, 3),
                },
            }
        )
    )


def _load(weights: Iterable[tuple[str, Any]]) -> None:
    import torch

    room = torch.empty(4 << 20, dtype=torch.uint8)
    for _, tensor in weights:
        flat = tensor.reshape(-1).view(torch.uint8)
        room[: flat.numel()].copy_(flat)


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print, write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", required=True)
    engine = parser.parse_args().engine
    from synthetic import Shape, make_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder, shape = Path(name) / "experts", Path(name) / "shape"
        folder.mkdir()
        shape.mkdir()
        made = make_checkpoint(shape, Shape())
        done = subprocess.run(
            [engine, __file__, "--measure", str(folder), str(shape)],
            check=True,
            stdout=subprocess.PIPE,
        )
    result = json.loads(done.stdout.splitlines()[-1])
    seconds, large = result["seconds"], result["large"]
    overhead = round(seconds["hook"] / seconds["plain"], 4)
    at_scale = large["headers_seconds"] + large["rewrite_seconds"]
    targets = {
        "at most 1 % of a load": overhead <= MOST_OVERHEAD,
        f"at most {MOST_SECONDS:g} s for 282,000 tensors": at_scale <= MOST_SECONDS,
    }
    print(f"{result['tensors']:,} tensors, {result['bytes'] / (1 << 30):.1f} GiB")
    print(f"  loaded without the adapter  {seconds['plain']:7.3f} s")
    print(f"  loaded with it              {seconds['adapted']:7.3f} s")
    print(f"  the adapter alone           {seconds['hook']:7.3f} s  ({overhead:.2%})")
    print(
        f"{large['tensors']:,} tensors: headers {large['headers_seconds']} s, "
        f"what becomes of them {large['rewrite_seconds']} s"
    )
    for target, met in targets.items():
        print(f"  {'ok ' if met else 'NO '} {target}")
    from record import write_result

    write_result(
        "adapter_overhead",
        {
            "load": [round(load, 2) for load in os.getloadavg()],
            **result,
            "overhead": overhead,
            "large_checkpoint": asdict(made),
            "targets": targets,
        },
    )
    return 0 if all(targets.values()) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure_here(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        sys.exit(main())
