"""Runs under the quantizer's Python: load a model, calibrate it, export it.

It is a program of its own and imports nothing of the launcher. Its one argument is the
order, as JSON (``quantize/types.py``, ``Order``). It answers in JSON lines on stdout;
all that the libraries print goes to stderr.
"""

import contextlib
import fnmatch
import importlib.util
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

#: Of torch, transformers or ModelOpt; what checks our types does not see them.
Theirs: TypeAlias = Any
Say = Callable[..., None]
Order = dict[str, Any]

#: The first answer: what speaks here, and what the answers mean.
PROTOCOL: Final = 1
#: Small files that a server needs and that ModelOpt does not write.
_COMPANIONS: Final = (
    *("tokenizer*", "*.jinja", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "*.model", "*.tiktoken", "generation_config.json"),
    *("preprocessor_config.json", "processor_config.json", "video_preprocessor*"),
)
#: One layer, by the name of anything in it.
_LAYER: Final = re.compile(r"^.*?\b(layers|blocks|h)\.\d+(?=\.|$)")


def _beside(name: str) -> Theirs:
    """Return a module that lies beside this file; no package is on our path."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"nvfp4_serve_{name}", path)
    if spec is None or spec.loader is None:
        raise AssertionError(f"{path} is a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_CALIBRATION: Final = _beside("calibration")


def main() -> int:
    """Carry out the order; the last answer is ``done`` or ``failed``."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(event: str, **facts: object) -> None:
        answers.write(json.dumps({"event": event, **facts}) + "\n")
        answers.flush()

    try:
        say("hello", protocol=PROTOCOL)
        _carry_out(json.loads(sys.argv[1]), say)
    except _CALIBRATION.RefusedError as error:
        say("failed", problem=error.problem, fix=error.fix)
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary: it is said, and ends us
        traceback.print_exc()
        say("failed", problem=f"{type(error).__name__}: {error}"[:2000], fix=None)
        return 1
    say("done")
    return 0


def _carry_out(order: Order, say: Say) -> None:
    say("phase", name="importing ModelOpt")
    import modelopt.torch.quantization as mtq
    import torch
    from modelopt.torch.export import export_hf_checkpoint

    if order["model"] is None:
        say("recipes", names=sorted(mtq.config.choices))
        return
    # What is wrong with the text is said before hours go into the model.
    read = _CALIBRATION.read_calibration(order) if order["calibration"] else None
    say("phase", name="loading the model")
    source = _local_folder(order)
    calibrate = None if read is None else _calibration(read, source, order, say)
    model = _load(source, order, say)
    recipe = _recipe(mtq, order)
    say("phase", name="quantizing" if calibrate is None else "calibrating")
    with torch.inference_mode():
        mtq.quantize(model, recipe, calibrate)
    say("meant", modules=list(_meant(model, recipe)))
    say("phase", name="exporting")
    with torch.inference_mode(), _counted_export(model, say):
        dtype = getattr(torch, order["dtype"])
        export_hf_checkpoint(model, dtype=dtype, export_dir=order["out"])
    _copy_companions(source, Path(order["out"]), order)


def _local_folder(order: Order) -> Path:
    """Return the folder of the model; download it first where it is on the Hub."""
    if order["is_folder"]:
        return Path(order["model"])
    from huggingface_hub import snapshot_download

    wanted = ["*.safetensors", "*.json", "*.py", *_COMPANIONS]
    where = {"revision": order["revision"], "allow_patterns": wanted}
    return Path(snapshot_download(order["model"], **where))


def _load(source: Path, order: Order, say: Say) -> Theirs:
    import torch
    import transformers

    remote = {"trust_remote_code": order["trust_remote_code"]}
    config = transformers.AutoConfig.from_pretrained(source, **remote)
    model, loading = _model_class(config, order).from_pretrained(
        source,
        dtype=getattr(torch, order["dtype"]),
        # ModelOpt 0.47.0 sees the experts only where each is a product of its own.
        experts_implementation="eager",
        output_loading_info=True,
        **remote,
    )
    if missing := sorted(loading["missing_keys"]):
        raise _CALIBRATION.RefusedError(
            f"The checkpoint lacks {len(missing)} tensors that {type(model).__name__} "
            f"needs, the first is `{missing[0]}`; they would be random.",
            fix="Download the checkpoint again, or give the one that it is a part of.",
        )
    say("left_out", tensors=sorted(loading["unexpected_keys"]))
    return model.eval()


def _model_class(config: Theirs, order: Order) -> Theirs:
    """Return the class that the config names, or the usual one for its kind."""
    import transformers

    named = (config.architectures or [None])[0]
    if named and not order["trust_remote_code"] and hasattr(transformers, named):
        return getattr(transformers, named)
    if hasattr(config, "vision_config"):
        return transformers.AutoModelForImageTextToText
    return transformers.AutoModelForCausalLM


def _recipe(mtq: Theirs, order: Order) -> Theirs:
    recipe = getattr(mtq, order["recipe"])
    if order["kv_cache"] == "fp8":
        kv_cache = mtq.FP8_KV_CFG["quant_cfg"]
        return mtq.utils.update_quant_cfg_with_kv_cache_quant(recipe, kv_cache)
    return recipe


def _calibration(
    read: Theirs, source: Path, order: Order, say: Say
) -> Callable[[Theirs], None]:
    """Return what shows the model its calibration text."""
    import torch
    from transformers import AutoTokenizer

    remote = {"trust_remote_code": order["trust_remote_code"]}
    tokenizer = AutoTokenizer.from_pretrained(source, **remote)
    samples = _CALIBRATION.make_samples(read, tokenizer, order)
    tokens = sum(len(sample) for sample in samples)
    say("calibration", samples=len(samples), tokens=tokens)

    def show(model: Theirs) -> None:
        for number, sample in enumerate(samples, 1):
            model(input_ids=torch.tensor([sample], device=model.device))
            say("progress", what="calibrating", done=number, total=len(samples))

    return show


def _meant(model: Theirs, recipe: Theirs) -> Iterator[dict[str, object]]:
    """Yield every matrix that the recipe means to quantize, by its name in the output.

    The recipe's own patterns are asked too: where ModelOpt does not know a kind of
    experts, it enables nothing and says nothing.
    """
    rename = _renamed(model)
    for name, module in model.named_modules():
        for matrix, enabled, inputs in _matrices(name, module):
            if enabled or _is_asked_for(f"{matrix}.weight_quantizer", recipe):
                asked = _is_asked_for(f"{matrix}.input_quantizer", recipe)
                yield {"name": rename(matrix), "inputs": inputs or asked}


def _matrices(name: str, module: Theirs) -> Iterator[tuple[str, bool, bool]]:
    """Yield each matrix, and whether its weight and its input will be quantized."""
    import torch

    if isinstance(module, torch.nn.Linear):
        weight = _is_on(getattr(module, "weight_quantizer", None))
        yield name, weight, _is_on(getattr(module, "input_quantizer", None))
        return
    for parameter, tensor in module.named_parameters(recurse=False):
        if tensor.dim() != 3 or isinstance(module, torch.nn.modules.conv._ConvNd):  # noqa: SLF001
            continue
        quantizers = getattr(module, f"{parameter}_weight_quantizers", None)
        inputs = _is_on(getattr(module, f"{parameter}_input_quantizer", None))
        halves = {"gate_up_proj": ("gate_proj", "up_proj")}.get(parameter, (parameter,))
        for expert in range(tensor.shape[0]):
            enabled = quantizers is not None and _is_on(quantizers[expert])
            for half in halves:
                yield f"{name}.{expert}.{half}", enabled, inputs


def _is_on(quantizer: Theirs) -> bool:
    return bool(getattr(quantizer, "is_enabled", False))


def _is_asked_for(quantizer: str, recipe: Theirs) -> bool:
    """True where the last pattern of the recipe that fits a linear layer enables it."""
    answer = False
    for entry in recipe["quant_cfg"]:
        if entry.get("parent_class") in (None, "nn.Linear") and fnmatch.fnmatch(
            quantizer, entry["quantizer_name"]
        ):
            answer = entry.get("enable", True)
    return answer


def _renamed(model: Theirs) -> Callable[[str], str]:
    """Return ModelOpt's own map from a name in memory to one in the checkpoint."""
    from modelopt.torch.export import quant_aware_conversion

    try:
        mapper = quant_aware_conversion.build_reverse_name_mapper(model)
    except quant_aware_conversion.QuantConversionUnsupportedError:
        mapper = None  # The export keeps the names in memory then.
    return mapper or (lambda name: name)


@contextlib.contextmanager
def _counted_export(model: Theirs, say: Say) -> Iterator[None]:
    """Say how many layers ModelOpt has packed, while it packs them."""
    from modelopt.torch.export import unified_export_hf as theirs

    layers = {_LAYER.search(name) for name, _ in model.named_modules()}
    total = len({found[0] for found in layers if found})
    before, seen = theirs._dispatch_export_handler, set()  # noqa: SLF001

    def count(name: str, *rest: object) -> None:
        if (found := _LAYER.search(name)) and found[0] not in seen:
            seen.add(found[0])
            say("progress", what="packing layers", done=len(seen), total=total)
        before(name, *rest)

    theirs._dispatch_export_handler = count  # noqa: SLF001
    try:
        yield
    finally:
        theirs._dispatch_export_handler = before  # noqa: SLF001


def _copy_companions(source: Path, out: Path, order: Order) -> None:
    """Copy what ModelOpt does not write: tokenizer, chat template and the like."""
    patterns = (*_COMPANIONS, *(("*.py",) if order["trust_remote_code"] else ()))
    for path in sorted(source.iterdir()):
        wanted = any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
        if wanted and path.is_file() and not (out / path.name).exists():
            (out / path.name).write_bytes(path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
