"""Runs in the producer's environment: what transformers makes of the same checkpoint.

The weights are dequantized by ModelOpt's own code, the model is transformers' own:
nothing here is shared with the numpy reference that it checks.
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

import torch
from modelopt.torch.quantization.qtensor import NVFP4QTensor
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

_NOT_WEIGHTS = (
    ".weight_scale",
    ".weight_scale_2",
    ".input_scale",
    "k_scale",
    "v_scale",
)


def logprobs(folder: Path, tokens: list[int]) -> list[list[float]]:
    """Return the log-probabilities [T, vocabulary] of one text."""
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.load_state_dict(_fused(_dequantized(folder)), strict=True)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([tokens])).logits[0]
    answer: list[list[float]] = logits.log_softmax(-1).tolist()
    return answer


def _dequantized(folder: Path) -> dict[str, torch.Tensor]:
    stored = load_file(folder / "model.safetensors")
    weights = {}
    for name, tensor in stored.items():
        if name.endswith(_NOT_WEIGHTS):
            continue
        weights[name] = tensor.float()
        if tensor.dtype is torch.uint8:
            shape = torch.Size((tensor.shape[0], 2 * tensor.shape[1]))
            weights[name] = NVFP4QTensor(shape, torch.float32, tensor).dequantize(
                torch.float32,
                scale=stored[f"{name}_scale"],
                double_scale=stored[f"{name}_scale_2"],
                block_sizes={-1: 16},
            )
    return weights


def _fused(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Stack experts as transformers 5 holds them: gate above up, one tensor a layer."""
    fused = {n: w for n, w in weights.items() if ".experts." not in n}
    experts: dict[str, dict[int, dict[str, torch.Tensor]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for name, weight in weights.items():
        if ".experts." in name:
            prefix, _, rest = name.partition(".experts.")
            number, projection, _ = rest.split(".")
            experts[prefix][int(number)][projection] = weight
    for prefix, layer in experts.items():
        rows = [layer[number] for number in sorted(layer)]
        gate_up = [torch.cat([row["gate_proj"], row["up_proj"]]) for row in rows]
        fused[f"{prefix}.experts.gate_up_proj"] = torch.stack(gate_up)
        down = [row["down_proj"] for row in rows]
        fused[f"{prefix}.experts.down_proj"] = torch.stack(down)
    return fused


if __name__ == "__main__":
    torch.set_num_threads(
        1
    )  # threads that wait for each other cost more than they give
    asked = json.loads(sys.argv[1])
    answers = [logprobs(Path(folder), tokens) for folder, tokens in asked]
    json.dump(answers, sys.stdout)
