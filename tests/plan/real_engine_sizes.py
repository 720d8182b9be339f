"""Runs under the engine's Python: what the real vLLM allots, with random weights.

    python real_engine_sizes.py '[{"model": FOLDER, "options": {...}}, ...]'

A line of JSON for each: with ``options`` what the engine says of its KV cache, with
``split`` the bytes of the parameters that it makes on one of several GPUs, with
``packed`` how its own code groups the caches of DeepSeek-V4; ``error`` where it
refuses. A folder needs nothing but its config.json.
"""

import functools
import gc
import json
import os
import socket
import sys
import traceback
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ["TORCH_COMPILE_DISABLE"] = "1"


def main() -> None:
    """Answer every request of the command line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for asked in json.loads(sys.argv[1]):
        answer = next(_ANSWERS[key] for key in _ANSWERS if key in asked)
        try:
            said = answer(asked)
        except Exception as error:  # noqa: BLE001 - the test gets it whole
            traceback.print_exc()
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)


def _cache(asked: dict[str, Any]) -> dict[str, Any]:
    """Start the engine, and return what it prints as the size of its KV cache."""
    import vllm.model_executor.model_loader.dummy_loader as loader
    from vllm import LLM
    from vllm.distributed import cleanup_dist_env_and_memory

    # A scale of NVFP4 below 0 would be refused.
    one = loader.initialize_single_dummy_weight
    if not isinstance(one, functools.partial):
        loader.initialize_single_dummy_weight = functools.partial(
            one, low=1e-3, high=2e-3
        )
    llm = None
    try:
        llm = LLM(
            model=asked["model"],
            load_format="dummy",
            skip_tokenizer_init=True,
            enforce_eager=True,
            **asked["options"],
        )
        cache = llm.llm_engine.vllm_config.cache_config
        return {
            "tokens": cache.kv_cache_size_tokens,
            "blocks": cache.num_gpu_blocks,
            "block": cache.block_size,
        }
    finally:
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()
        gc.collect()


def _parameters(asked: dict[str, Any]) -> dict[str, Any]:
    """Build the model as one of several GPUs would; return its parameters' bytes.

    The groups of processes are vLLM's own with another number written into them: the
    layers ask them for their size, and cut themselves accordingly.
    """
    from vllm.config import set_current_vllm_config
    from vllm.distributed import parallel_state
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.utils.torch_utils import set_default_torch_dtype

    split = asked["split"]
    tensor, pipeline = split["tensor"], split["pipeline"]
    config = EngineArgs(
        model=asked["model"],
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        enable_expert_parallel=split["experts"],
        distributed_executor_backend="mp",
    ).create_engine_config()
    with set_current_vllm_config(config):
        _one_process()
        sizes = (
            (parallel_state.get_tp_group(), tensor, 0),
            (parallel_state.get_pp_group(), pipeline, split["stage"]),
            (parallel_state.get_ep_group(), tensor if split["experts"] else 1, 0),
        )
        for group, size, rank in sizes:
            group.world_size, group.rank_in_group = size, rank
            group.ranks, group.rank = list(range(size)), rank
        with set_default_torch_dtype(config.model_config.dtype):
            model = initialize_model(vllm_config=config)
    return {
        "bytes": {
            name: tensor.numel() * tensor.element_size()
            for name, tensor in model.named_parameters()
        }
    }


def _packed(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the groups that vLLM makes of the caches of DeepSeek-V4.

    The specs are those of models/deepseek_v4/attention.py, compressor.py and
    sparse_swa.py, built of vLLM's classes: its model cannot be built on every CPU.
    """
    import torch
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.kv_cache_interface import MLAAttentionSpec, SlidingWindowMLASpec

    def window(block: int, window: int, width: int, **more: Any) -> Any:
        common = {"num_kv_heads": 1, "max_tp_shards": 1, "alignment": 576}
        return SlidingWindowMLASpec(
            block_size=block,
            sliding_window=window,
            head_size=width,
            **{"dtype": torch.float32} | common | more,
        )

    def keys(ratio: int, width: int, **more: Any) -> Any:
        common = {"num_kv_heads": 1, "max_tp_shards": 1, "alignment": 576}
        return MLAAttentionSpec(
            block_size=256,
            head_size=width,
            dtype=torch.uint8,
            tokens_per_state=ratio,
            **common | more,
        )

    row = {"state_content_bytes": 584, "cache_dtype_str": "fp8_ds_mla"}
    row["model_version"] = "deepseek_v4"
    specs = {}
    for number, ratio in enumerate(asked["packed"]):
        specs[f"{number}.swa"] = window(64, 128, 512, dtype=torch.uint8, **row)
        if ratio > 1:
            overlap, block = (2, 4) if ratio == 4 else (1, 8)
            state = 2 * overlap * 512
            specs[f"{number}.keys"] = keys(ratio, 512, **row)
            specs[f"{number}.state"] = window(block, overlap * ratio, state)
        if ratio == 4:
            specs[f"{number}.index"] = keys(4, 132)
            specs[f"{number}.index.state"] = window(4, 8, 2 * 2 * 128)
    config = EngineArgs(
        model=asked["model"], load_format="dummy", skip_tokenizer_init=True
    ).create_engine_config()
    config.cache_config.kv_cache_layout = "BLHNC"
    groups = kv_cache_utils.get_kv_cache_groups(config, specs)
    layout = config.cache_config.get_resolved_kv_cache_layout()
    return {
        "block": kv_cache_utils._get_kv_cache_bytes_per_block(groups, layout),
        "groups": sorted(
            (len(group.layer_names), group.kv_cache_spec.page_size_bytes)
            for group in groups
        ),
    }


@functools.cache
def _one_process() -> None:
    from vllm.distributed import parallel_state

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    parallel_state.init_distributed_environment(
        world_size=1,
        rank=0,
        distributed_init_method=f"tcp://127.0.0.1:{port}",
        local_rank=0,
        backend="gloo",
    )
    parallel_state.initialize_model_parallel(1, 1)


_ANSWERS = {"split": _parameters, "packed": _packed, "options": _cache}

if __name__ == "__main__":
    main()
