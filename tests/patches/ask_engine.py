"""Ask vLLM, in one process, for logprobs of some models; run it with its Python.

Usage: python ask_engine.py REQUESTS.json ANSWERS.json

A request is ``{"name", "model", "flags": {…}}``; an answer, under the same name, is
``{"logprobs": [[{token: logprob}…]…]}`` for each prompt and position, or ``{"error"}``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["TORCH_COMPILE_DISABLE"] = "1"

from vllm import LLM, SamplingParams
from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

PROMPTS = [[1, 5, 17, 33, 99, 250, 7], [1, 200, 100, 50, 25, 12, 6, 3, 280, 140, 70]]


def ask(model: str, flags: dict[str, Any]) -> list[list[dict[str, float]]]:
    """Return the top logprobs of each position of each prompt, and of 8 new tokens."""
    llm = LLM(
        model,
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=128,
        max_logprobs=20,
        kv_cache_memory_bytes=64 << 20,
        enable_prefix_caching=False,
        **flags,
    )
    wanted = SamplingParams(
        temperature=0, max_tokens=8, logprobs=20, prompt_logprobs=20, detokenize=False
    )
    prompts = [{"prompt_token_ids": prompt} for prompt in PROMPTS]
    answers = []
    for output in llm.generate(prompts, wanted, use_tqdm=False):
        positions = [*output.prompt_logprobs[1:], *output.outputs[0].logprobs]
        answers.append(
            [
                {str(token): value.logprob for token, value in position.items()}
                for position in positions
            ]
        )
    llm.llm_engine.engine_core.shutdown()
    return answers


def main(requests: Path, answers: Path) -> None:
    """Answer every request; a failure is an answer, too."""
    told: dict[str, Any] = {}
    for request in json.loads(requests.read_text()):
        try:
            told[request["name"]] = {
                "logprobs": ask(request["model"], request["flags"])
            }
        except Exception:  # noqa: BLE001  (the test reads it)
            told[request["name"]] = {"error": traceback.format_exc()}
        cleanup_dist_env_and_memory()
        gc.collect()
        answers.write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
