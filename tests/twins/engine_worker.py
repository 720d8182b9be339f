"""Runs under the engine's Python: loads checkpoint after checkpoint, and answers.

JSON lines in on stdin, JSON lines out on what stdout was at the start; vLLM's own
words go to stderr. One process serves every check, so its imports are paid once.

Request:  ``{"model", "prompts": [[token, ...], ...], "max_tokens", "top", "options"}``
          (or all prompts are text, and the checkpoint's tokenizer is used)
Answer:   ``{"answers": [{"prompt", "tokens", "text", "top_logprobs",
          "prompt_logprobs"}, ...]}``
          or ``{"error": "...", "traceback": "..."}`` when the load or the run failed.
"""

import gc
import json
import os
import sys
import traceback
from typing import Any, TextIO

# Before vLLM is imported: everything in this one process, and little memory.
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# As a plan for a CPU says; logprobs would otherwise be compiled first.
os.environ["TORCH_COMPILE_DISABLE"] = "1"

_KV_CACHE_BYTES = 1 << 26


def main() -> int:
    """Answer requests until stdin ends."""
    answers = _take_stdout()
    from vllm import LLM, SamplingParams  # slow; stdout must be ours first

    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line), LLM, SamplingParams)
        except Exception as error:  # noqa: BLE001 - the bench gets it whole
            answer = {
                "error": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def _take_stdout() -> TextIO:
    """Return the real stdout, and let everything else that prints go to stderr."""
    ours = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return ours


def _answer(request: dict[str, Any], llm_class: Any, params_class: Any) -> Any:
    is_text = all(isinstance(prompt, str) for prompt in request["prompts"])
    key = "prompt" if is_text else "prompt_token_ids"
    options = {
        "enforce_eager": True,
        "skip_tokenizer_init": not is_text,
        "max_num_seqs": 4,
        "kv_cache_memory_bytes": _KV_CACHE_BYTES,
        "enable_prefix_caching": False,
        **request["options"],
    }
    params = params_class(
        temperature=0.0,
        max_tokens=request["max_tokens"],
        logprobs=request["top"],
        prompt_logprobs=request["top"],
        detokenize=is_text,
    )
    llm = None
    try:
        llm = llm_class(model=request["model"], **options)
        prompts = [{key: prompt} for prompt in request["prompts"]]
        outputs = llm.generate(prompts, params, use_tqdm=False)
        return {"answers": [_plain(output) for output in outputs]}
    finally:
        _unload(llm)


def _unload(llm: Any) -> None:
    from vllm.distributed import cleanup_dist_env_and_memory

    if llm is not None:
        llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()
    gc.collect()


def _plain(output: Any) -> dict[str, Any]:
    (completion,) = output.outputs
    return {
        "prompt": list(output.prompt_token_ids),
        "tokens": list(completion.token_ids),
        "text": completion.text,
        "top_logprobs": [_logprobs(at) for at in completion.logprobs],
        "prompt_logprobs": [_logprobs(at) for at in output.prompt_logprobs[1:]],
    }


def _logprobs(at: Any) -> dict[str, float]:
    return {str(token): entry.logprob for token, entry in at.items()}


if __name__ == "__main__":
    sys.exit(main())
