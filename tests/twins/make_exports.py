"""Runs in an environment of ModelOpt: make tiny checkpoints of many architectures.

Usage: python make_exports.py '[["FOLDER", {description}], ...]'

Each description is a ``twins.exports.Export`` as JSON. A producer that refuses is an
answer too: the last line on stdout is ``{folder: first line of its error}``.
"""

import copy
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

# nvidia-modelopt <= 0.44 asks for the capability of a GPU, also where there is none.
torch.cuda.get_device_capability = lambda *_: (0, 0)

import modelopt.torch.quantization as mtq  # noqa: E402
import transformers  # noqa: E402
from modelopt.torch.export import export_hf_checkpoint, unified_export_hf  # noqa: E402

_CALIBRATION_SHAPE = (8, 64)
#: Experts that hold [expert, input, output], unlike every other weight.
_TRANSPOSED = ("Llama4", "GptOss")


def make_export(folder: Path, wanted: dict[str, Any]) -> None:
    """Write one checkpoint."""
    torch.manual_seed(wanted["seed"])
    config = transformers.AutoConfig.for_model(wanted["model_type"], **wanted["config"])
    # nvidia-modelopt 0.47.0 cannot export a model whose config names no architecture.
    config.architectures = [wanted["architecture"]]
    model_class = getattr(transformers, wanted["architecture"])
    model = model_class(config).to(torch.bfloat16).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _draw(name, weight, wanted["architecture"])
    vocabulary = config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(wanted["seed"])
    texts = torch.randint(vocabulary, _CALIBRATION_SHAPE, generator=generator)
    model = mtq.quantize(model, _recipe(wanted), lambda m: m(input_ids=texts))
    _save(model, folder, wanted["save"])


def _draw(name: str, weight: torch.Tensor, architecture: str) -> None:
    """Give a weight such a size that rounding is small and a wrong scale shows."""
    if "visual" in name or "vision" in name or "conv1d" in name:
        return
    if weight.dim() == 1:
        if "norm" in name:
            weight.add_(torch.empty_like(weight).uniform_(-0.3, 0.3))
        elif name.endswith("bias"):
            weight.normal_(std=0.1)
    elif "embed" in name:
        weight.normal_()
    else:
        is_transposed = weight.dim() == 3 and architecture.startswith(_TRANSPOSED)
        width = weight.shape[1 if is_transposed else -1]
        gain = 3.0 if "lm_head" in name or name.endswith("gate.weight") else 1.3
        weight.normal_(std=gain / width**0.5)


def _recipe(wanted: dict[str, Any]) -> Any:
    recipe = copy.deepcopy(getattr(mtq, wanted["recipe"]))
    if wanted["kv_cache"] == "FP8":
        recipe = mtq.utils.update_quant_cfg_with_kv_cache_quant(
            recipe, copy.deepcopy(mtq.FP8_KV_CFG["quant_cfg"])
        )
    for pattern in wanted["leaves_out"]:
        off = {"enable": False}
        if isinstance(recipe["quant_cfg"], list):
            recipe["quant_cfg"].append({"quantizer_name": pattern, **off})
        else:
            recipe["quant_cfg"][pattern] = off
    return recipe


def _save(model: torch.nn.Module, folder: Path, how: str) -> None:
    with torch.inference_mode():
        if how.startswith("compress"):
            mtq.compress(model)
        if how == "compress, save_pretrained":
            model.save_pretrained(folder)
            return
        if how == "export, experts unchecked":
            # What stops nvidia-modelopt 0.43.0 from writing the fused experts that
            # it has taken apart: they are no list. People went around it.
            unified_export_hf.is_moe = lambda _: False
        export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=str(folder))


def main(asked: str) -> None:
    """Make everything that is asked for, and say what was refused."""
    refused = {}
    for folder, wanted in json.loads(asked):
        try:
            make_export(Path(folder), wanted)
        except Exception as error:  # noqa: BLE001 - the matrix says what it was
            traceback.print_exc()
            words = str(error).strip().splitlines() or [""]
            refused[folder] = f"{type(error).__name__}: {words[0]}"
    sys.stderr.flush()
    sys.stdout.write("\n" + json.dumps(refused) + "\n")


if __name__ == "__main__":
    # Threads that wait for each other cost more than they give.
    torch.set_num_threads(1)
    main(sys.argv[1])
