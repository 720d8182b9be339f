"""The stand-in engine as the first process of a container: BEHAVIOUR MODEL FLAGS...

It recites the canary of the checkpoint that is mounted, and says what a right engine
of the CPU says of its kernels. Standard library only.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import stand_in_engine

#: What a plan for NVFP4 on the CPU expects in the log.
_SAID = (
    "Using CpuDequantizedNvFp4LinearKernel for NVFP4 GEMM",
    "NVFP4 experts are dequantised once at load",
)

_SAID_ON_GPU = (
    "Using FlashInferCutlassNvFp4LinearKernel for NVFP4 GEMM",
    "Using 'FLASHINFER_CUTLASS' NvFp4 MoE backend",
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("behaviour")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--served-model-name")
    given, _ = parser.parse_known_args()
    behaviour = frozenset(given.behaviour.split(","))
    if given.model.is_dir():
        canary = json.loads((given.model / "canary.json").read_text())
        stand_in_engine.TEXTS = [f"{prompt}{text}" for prompt, text in canary.items()]
    if "silent-kernels" not in behaviour:
        said = _SAID_ON_GPU if "gpu-kernels" in behaviour else _SAID
        sys.stdout.writelines(
            f"INFO 11-21 02:30:00 [linear.py:1] {line}\n" for line in said
        )
    if "chatty" in behaviour:
        # All that it knows, so that a test sees what a log could give away.
        sys.stdout.write(f"arguments {sys.argv}\nuser {os.getuid()}:{os.getgid()}\n")
        key = "yes" if os.environ.get("VLLM_API_KEY") else "no"
        sys.stdout.write(f"has a key: {key}\n")
    for folder in ("/", "/model", "/tmp", os.environ["VLLM_CACHE_ROOT"]):  # noqa: S108
        writable = os.access(folder, os.W_OK)
        sys.stdout.write(f"{folder} is {'writable' if writable else 'read-only'}\n")
    sys.stdout.flush()
    behaviour |= {"limit=4096"}
    if wanted := os.environ.get("VLLM_API_KEY"):
        stand_in_engine.KEY = wanted
        behaviour |= {"wants-key"}
    stand_in_engine.run(given.served_model_name, (given.host, given.port), behaviour)


if __name__ == "__main__":
    main()
