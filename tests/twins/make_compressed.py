"""Runs in the environment of llm-compressor: make tiny compressed-tensors checkpoints.

Usage: python make_compressed.py '[["FOLDER", {description}], ...]'

Each description is a ``twins.exports.Export`` as JSON; the last line on stdout is
``{folder: first line of the error}`` for what it refused.
"""

import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from tokenizers import Tokenizer, models, pre_tokenizers


def make_export(folder: Path, wanted: dict[str, Any]) -> None:
    """Write one checkpoint."""
    torch.manual_seed(wanted["seed"])
    config = transformers.AutoConfig.for_model(wanted["model_type"], **wanted["config"])
    config.architectures = [wanted["architecture"]]
    model_class = getattr(transformers, wanted["architecture"])
    model = model_class(config).to(torch.bfloat16).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _draw(name, weight)
    with tempfile.TemporaryDirectory() as plain:
        # It saves the files of a model that came from a folder.
        model.save_pretrained(plain)
        loaded = model_class.from_pretrained(plain, dtype=torch.bfloat16)
        texts = torch.randint(config.vocab_size, (8, 64)).tolist()
        rows = [{"input_ids": t, "attention_mask": [1] * len(t)} for t in texts]
        oneshot(
            model=loaded,
            dataset=Dataset.from_list(rows),
            processor=_tokenizer(config.vocab_size),
            recipe=QuantizationModifier(
                targets="Linear",
                scheme=wanted["recipe"],
                ignore=["lm_head", "re:.*mlp.gate$"],
            ),
            output_dir=str(folder),
        )


def _draw(name: str, weight: torch.Tensor) -> None:
    if weight.dim() == 1:
        weight.uniform_(0.7, 1.3)
    elif "embed" in name:
        weight.normal_()
    else:
        gain = 3.0 if "lm_head" in name or name.endswith("gate.weight") else 1.3
        weight.normal_(std=gain / weight.shape[-1] ** 0.5)


def _tokenizer(size: int) -> Any:
    words = {f"w{number}": number for number in range(size)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="w0",  # noqa: S106
    )


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
    torch.set_num_threads(1)
    main(sys.argv[1])
