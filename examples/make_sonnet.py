"""Make examples/sonnet-18-nvfp4: a tiny Qwen3-MoE in NVFP4 that recites a sonnet.

Train it on the CPU, quantize and export it with nvidia-modelopt, read the exported
files back, and prove that they recite with right scales and with no wrong ones.
Needs the packages of requirements/quantizer.txt; takes about three minutes on one core.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from modelopt.torch.quantization.qtensor import NVFP4QTensor
from nvfp4_rounding import BLOCK, Nvfp4Arithmetic
from safetensors.torch import load_file
from sonnet_training import (
    END_OF_TEXT,
    END_OF_TURN,
    FIRST_WORDS,
    QUESTIONS,
    SEED,
    TEXT,
    chat_prompt,
    make_model,
    make_tokenizer,
    scale_groups,
    scaled,
    train,
)
from tokenizers import Tokenizer
from torch.func import functional_call
from transformers import Qwen3MoeForCausalLM

STEPS: Final = 420
FOLDER: Final = Path(__file__).parent / "sonnet-18-nvfp4"
#: The least lead, in nats, of every right token over the next best one.
LEAST_MARGIN: Final = 2.0
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
#: Prompt to what must follow it, word for word, when decoded greedily.
CANARY: Final = {
    FIRST_WORDS: TEXT.removeprefix(FIRST_WORDS),
    chat_prompt(QUESTIONS[0]): TEXT,
}

Tensors = dict[str, torch.Tensor]


def recitals(tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the tokens of each canary prompt and of its answer, end token included."""
    for prompt, answer in CANARY.items():
        end = END_OF_TURN if prompt.endswith("assistant\n") else END_OF_TEXT
        yield (
            tokenizer.encode(prompt).ids,
            [*tokenizer.encode(answer).ids, tokenizer.token_to_id(end)],
        )


def quantize(model: Qwen3MoeForCausalLM, tokenizer: Tokenizer) -> Qwen3MoeForCausalLM:
    """Return the bfloat16 model with ModelOpt's NVFP4 quantizers, calibrated."""

    def calibrate(calibrated: Qwen3MoeForCausalLM) -> None:
        for prompt, answer in recitals(tokenizer):
            calibrated(input_ids=torch.tensor([prompt + answer]))

    model.config.output_router_logits = False
    model.config.eos_token_id = tokenizer.token_to_id(END_OF_TURN)
    model.config.pad_token_id = tokenizer.token_to_id(END_OF_TEXT)
    return mtq.quantize(model.to(torch.bfloat16), mtq.NVFP4_DEFAULT_CFG, calibrate)


def write_checkpoint(
    model: Qwen3MoeForCausalLM, tokenizer: Tokenizer, folder: Path
) -> None:
    """Export ``model`` to ``folder``, with its tokenizer and its canary."""
    with torch.inference_mode():
        export_hf_checkpoint(model, dtype=torch.bfloat16, export_dir=str(folder))
    tokenizer.save(str(folder / "tokenizer.json"))
    words = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # known to every transformers
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "model_max_length": model.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    write_json(folder / "tokenizer_config.json", words)
    ends = [tokenizer.token_to_id(token) for token in (END_OF_TURN, END_OF_TEXT)]
    # Temperature 0 is vLLM's word for greedy: a bare request recites too.
    generation = {"eos_token_id": ends, "pad_token_id": ends[1], "temperature": 0.0}
    write_json(folder / "generation_config.json", generation)
    write_json(folder / "canary.json", CANARY)


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def dequantized(tensors: Tensors, experts: int) -> Tensors:
    """Return exported tensors in float32, under transformers' names.

    Args:
        tensors: ``<module>.weight`` U8 [out, in / 2], ``.weight_scale`` E4M3
            [out, in / 16] and ``.weight_scale_2`` F32 []; or BF16.
        experts: Experts per layer; their projections come stacked, gate above up.
    """
    weights: Tensors = {}
    for name, tensor in tensors.items():
        if name.endswith((".weight_scale", ".weight_scale_2", ".input_scale")):
            continue
        weights[name] = tensor.float()
        if tensor.dtype is torch.uint8:
            shape = torch.Size((tensor.shape[0], tensor.shape[1] * 2))
            weights[name] = NVFP4QTensor(shape, torch.float32, tensor).dequantize(
                torch.float32,
                scale=tensors[f"{name}_scale"],
                double_scale=tensors[f"{name}_scale_2"],
                block_sizes={-1: BLOCK},
            )
    for prefix in sorted(
        {n.partition("experts.")[0] for n in weights if "experts" in n}
    ):
        stacks = {
            part: torch.stack(
                [
                    weights.pop(f"{prefix}experts.{e}.{part}.weight")
                    for e in range(experts)
                ]
            )
            for part in ("gate_proj", "up_proj", "down_proj")
        }
        weights[f"{prefix}experts.gate_up_proj"] = torch.cat(
            [stacks["gate_proj"], stacks["up_proj"]], dim=1
        )
        weights[f"{prefix}experts.down_proj"] = stacks["down_proj"]
    return weights


def wrong_tensors(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    """Yield the exported tensors as faulty loaders would see them."""

    def changed(suffix: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Tensors:
        return {n: change(t) if n.endswith(suffix) else t for n, t in tensors.items()}

    yield "weight_scale_2 dropped", changed("weight_scale_2", torch.ones_like)
    yield (
        "nibbles swapped",
        changed("weight", lambda t: t >> 4 | t << 4 if t.dtype is torch.uint8 else t),
    )


class Judge:
    """Measures how well given weights recite, by scoring the known text."""

    def __init__(self, model: Qwen3MoeForCausalLM, tokenizer: Tokenizer) -> None:
        self._model = model.eval()
        self._recitals = tuple(recitals(tokenizer))

    @torch.inference_mode()
    def judge(self, label: str, weights: Tensors, **rounding: bool) -> float:
        """Print and return the least lead of a right token, in nats.

        Above zero, greedy decoding gives the text word for word; below, it does not.
        """
        margins, loss = [], []
        for prompt, answer in self._recitals:
            inputs = {"input_ids": torch.tensor([prompt + answer])}
            with self._arithmetic(weights, **rounding):
                output = functional_call(self._model, weights, args=(), kwargs=inputs)
            scores = output.logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            right = torch.tensor(answer)[:, None]
            own = scores.gather(1, right)
            margins.append(own - scores.scatter(1, right, -torch.inf).amax(1, True))
            loss.append(-own)
        least, broken = torch.cat(margins).min().item(), torch.cat(margins) <= 0
        print(
            f"  {label:32s} margin {least:7.2f}  loss {torch.cat(loss).mean():6.3f}"
            f"  wrong tokens {int(broken.sum()):3d} of {broken.numel()}"
        )
        return least

    def _arithmetic(
        self, weights: Tensors, *, activations: bool = False
    ) -> Nvfp4Arithmetic:
        keep = [w for n, w in weights.items() if "mlp.gate." in n or "lm_head" in n]
        return Nvfp4Arithmetic(keep, weights=False, activations=activations)


def prove(folder: Path, model: Qwen3MoeForCausalLM, tokenizer: Tokenizer) -> list[str]:
    """Return what is wrong with the checkpoint in ``folder``."""
    tensors = load_file(folder / "model.safetensors")
    experts = model.config.num_experts
    weights = dequantized(tensors, experts)
    judge = Judge(model.float(), tokenizer).judge
    print("with right scales:")
    right = {
        "weight-only (W4A16)": judge("weight-only (W4A16)", weights),
        "W4A4": judge("W4A4", weights, activations=True),
    }
    print("with wrong scales:")
    wrong = {
        name: judge(name, dequantized(faulty, experts))
        for name, faulty in wrong_tensors(tensors)
    }
    for group in scale_groups(model.config.num_hidden_layers):
        name = f"block scales halved, {group}"
        wrong[name] = judge(name, scaled(weights, group, 0.5))
    return [
        *(
            f"{name}: recites by {m:.2f} only"
            for name, m in right.items()
            if m < LEAST_MARGIN
        ),
        *(f"{name}: still recites" for name, m in wrong.items() if m > -LEAST_MARGIN),
    ]


def main() -> int:
    """Make the example; return 1 and leave the old one if it does not recite."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out: Path = parser.parse_args().out
    started = time.monotonic()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # any machine has one, so sums have one order
    torch.use_deterministic_algorithms(mode=True)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer.get_vocab_size())
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, tokenizer, STEPS)
    print(f"trained in {time.monotonic() - started:.0f} s")
    fresh = make_model(tokenizer.get_vocab_size())
    quantized = quantize(model, tokenizer)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "checkpoint"
        write_checkpoint(quantized, tokenizer, made)
        faults = prove(made, fresh, tokenizer)
        if faults:
            print("not right, nothing written:", *faults, sep="\n  ", file=sys.stderr)
            return 1
        out.mkdir(parents=True, exist_ok=True)
        for file in sorted(made.iterdir()):
            shutil.copyfile(file, out / file.name)
            print(f"wrote {out / file.name}  {file.stat().st_size:,} bytes")
    print(f"done in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
