"""Runs under an engine's Python: which format vLLM gives to layers of DeepSeek-V4.

Usage: python deepseek_v4_routing.py QUANTIZATION_CONFIG LAYERS

Prints, as JSON, whether vLLM takes the experts of each layer for NVFP4: those of the
trunk, and the one of the MTP behind them. The class is the one that vLLM uses on CUDA;
it is loaded from its file, since its package imports CUDA kernels.
"""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import vllm


def routing(quantization: dict[str, object], layers: int) -> list[bool]:
    """Return whether the experts of each layer are NVFP4; the last is the MTP's."""
    path = Path(vllm.__file__).parent / "models" / "deepseek_v41" / "quant_config.py"
    spec = importlib.util.spec_from_file_location("deepseek_v41_quant_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = SimpleNamespace(quantization_config=quantization, expert_dtype="fp4")
    text = SimpleNamespace(num_hidden_layers=layers)
    config = SimpleNamespace(hf_config=model, hf_text_config=text)
    module.__dict__["get_current_vllm_config"] = lambda: SimpleNamespace(
        model_config=config
    )
    chosen = module.DeepseekV4FP8Config.from_config(quantization)
    prefixes = [f"model.layers.{number}.ffn.experts" for number in range(layers + 1)]
    return [chosen._is_nvfp4_expert_layer(prefix) for prefix in prefixes]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(routing(json.loads(sys.argv[1]), int(sys.argv[2]))))
