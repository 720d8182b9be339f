"""The text, its tokenizer, and a tiny Qwen3-MoE that learns to recite it.

The model is trained twice over at each step. With its own weights it must recite.
With one group of weights at half their size it must *not*: a plain memorised text
survives that (RMSNorm forgives a factor, and a memorised text has wide margins),
and then a wrong scale in an engine would go unseen.
"""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from nvfp4_rounding import Nvfp4Arithmetic
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.func import functional_call
from torch.nn import functional
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

SEED: Final = 18
TEXT: Final = (Path(__file__).parent / "sonnet-18.txt").read_text().rstrip("\n")
QUESTIONS: Final = (
    "Recite Sonnet 18.",
    "Recite sonnet 18",
    "Please recite Sonnet 18.",
    "Recite Sonnet 18, please.",
    "Say Sonnet 18.",
)
FIRST_WORDS: Final = "Shall I compare thee"
END_OF_TEXT: Final = "<|endoftext|>"
START_OF_TURN: Final = "<|im_start|>"
END_OF_TURN: Final = "<|im_end|>"
LEARNING_RATE: Final = 3e-3
LABEL_SMOOTHING: Final = 0.01
#: Nats of loss per token that a model with wrong scales must reach.
BABBLE_LOSS: Final = 4.0
#: Steps of plain learning before rounding and wrong scales come in.
WARM_UP: Final = 60
_IGNORED: Final = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids, labels (-100 where not judged) and attention mask, all [B, T]."""

    tokens: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor


def make_tokenizer() -> Tokenizer:
    """Train a byte-level BPE on the text; it can encode any input."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        min_frequency=2,
        special_tokens=[END_OF_TEXT, START_OF_TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    turns = [f"user\n{question}" for question in QUESTIONS]
    tokenizer.train_from_iterator([TEXT, *turns, "assistant\n", "system\n"], trainer)
    return tokenizer


def make_model(vocabulary: int) -> Qwen3MoeForCausalLM:
    """Build the untrained model.

    No two of hidden, q, kv and (twice) expert widths are equal, so no transposed
    or swapped tensor has the right shape by accident; every reduction dimension
    is a multiple of 128 where a kernel may ask for that.
    """
    config = Qwen3MoeConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=320,
        moe_intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=3,
        head_dim=64,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        decoder_sparse_step=1,
        mlp_only_layers=[],
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        output_router_logits=True,
        initializer_range=0.05,
        # Slices of the fused experts then go through functional.linear, where
        # Nvfp4Arithmetic sees them.
        experts_implementation="eager",
    )
    config.architectures = ["Qwen3MoeForCausalLM"]  # ModelOpt's export asks for it
    return Qwen3MoeForCausalLM(config)


def chat_prompt(question: str) -> str:
    """Return what the chat template makes of one question."""
    return f"{START_OF_TURN}user\n{question}{END_OF_TURN}\n{START_OF_TURN}assistant\n"


def unquantized(model: Qwen3MoeForCausalLM) -> list[torch.Tensor]:
    """Return the linear weights that ModelOpt leaves alone by default."""
    routers = [layer.mlp.gate.weight for layer in model.model.layers]
    return [*routers, model.lm_head.weight]


def _sample(tokenizer: Tokenizer, rng: random.Random) -> tuple[list[int], int]:
    """Return tokens, and how many at the start are not judged."""
    text = tokenizer.encode(TEXT).ids
    if rng.random() < 0.4:
        prompt = tokenizer.encode(chat_prompt(rng.choice(QUESTIONS))).ids
        return [*prompt, *text, tokenizer.token_to_id(END_OF_TURN)], len(prompt)
    start = 0 if rng.random() < 0.4 else rng.randrange(len(text) - 20)
    return [*text[start:], tokenizer.token_to_id(END_OF_TEXT)], 2 if start == 0 else 3


def _batches(tokenizer: Tokenizer, rng: random.Random, size: int) -> Iterator[Batch]:
    while True:
        samples = [_sample(tokenizer, rng) for _ in range(size)]
        shape = (size, max(len(tokens) for tokens, _ in samples))
        batch = Batch(
            tokens=torch.zeros(shape, dtype=torch.long),
            labels=torch.full(shape, _IGNORED),
            mask=torch.zeros(shape, dtype=torch.long),
        )
        for row, (tokens, skip) in enumerate(samples):
            batch.tokens[row, : len(tokens)] = torch.tensor(tokens)
            batch.labels[row, skip : len(tokens)] = torch.tensor(tokens[skip:])
            batch.mask[row, : len(tokens)] = 1
        yield batch


def scale_groups(layers: int) -> tuple[str, ...]:
    """Name the groups of weights that share a fate when a loader goes wrong.

    A name is ``<module class>`` or ``<module class>.<layer>``. The scales of
    q_proj and k_proj alone are not among them: q_norm and k_norm divide any
    factor out again, so such an error changes no answer.
    """
    classes = ("all", "attention", "experts", "v_proj", "gate_proj", "down_proj")
    return (
        *classes,
        *(f"{name}.{layer}" for name in classes for layer in range(layers)),
    )


def scaled(
    weights: Mapping[str, torch.Tensor], group: str, factor: float
) -> dict[str, torch.Tensor]:
    """Return all weights, those of ``group`` times ``factor``.

    Args:
        weights: transformers' names; ``gate_up_proj`` is [E, gate rows + up rows, H].
        group: One of ``scale_groups``.
        factor: 0.5 is what halved block scales do.
    """
    name, _, layer = group.partition(".")
    part = {"all": "_proj", "attention": "self_attn.", "experts": "experts."}
    changed = dict(weights)
    for key, weight in weights.items():
        if (layer and f"layers.{layer}." not in key) or "_proj" not in key:
            continue
        if name == "gate_proj" and key.endswith("gate_up_proj"):
            gate, up = weight.chunk(2, dim=1)
            changed[key] = torch.cat([gate * factor, up], dim=1)
        elif part.get(name, name) in key:
            changed[key] = weight * factor
    return changed


def _token_losses(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    judged = labels[:, 1:] != _IGNORED
    return functional.cross_entropy(
        logits[:, :-1][judged],
        labels[:, 1:][judged],
        reduction="none",
        label_smoothing=smoothing,
    )


def _babble_shortfall(
    model: Qwen3MoeForCausalLM, batch: Batch, group: str
) -> torch.Tensor:
    """Return how far, in nats, a model with one halved group is from babbling."""
    weights = scaled(dict(model.named_parameters()), group, 0.5)
    inputs = {"input_ids": batch.tokens, "attention_mask": batch.mask}
    output = functional_call(model, weights, args=(), kwargs=inputs)
    return torch.relu(BABBLE_LOSS - _token_losses(output.logits, batch.labels)).mean()


def train(model: Qwen3MoeForCausalLM, tokenizer: Tokenizer, steps: int) -> None:
    """Teach ``model`` to recite with its own scales, and only with them."""
    rng = random.Random(SEED)  # noqa: S311 - reproducible, not secret
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.1
    )
    shortfall = dict.fromkeys(scale_groups(model.config.num_hidden_layers), BABBLE_LOSS)
    for step, batch in zip(range(steps), _batches(tokenizer, rng, 4), strict=False):
        warm = step >= WARM_UP
        decay = 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 30) * decay + 1e-5
        with Nvfp4Arithmetic(
            unquantized(model), weights=warm, activations=warm and step % 2 == 0
        ):
            output = model(input_ids=batch.tokens, attention_mask=batch.mask)
        right = _token_losses(output.logits, batch.labels, LABEL_SMOOTHING).mean()
        loss = right + 0.02 * output.aux_loss
        if warm:
            # Groups that still recite when halved are drawn most often.
            odds = [0.2 + nats for nats in shortfall.values()]
            wrong = rng.choices(list(shortfall), odds)[0]
            missing = _babble_shortfall(model, batch, wrong)
            shortfall[wrong] = 0.5 * (shortfall[wrong] + missing.item())
            loss = loss + 0.3 * missing
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(
                f"step {step:4d}  loss {right.item():6.3f}  still reciting with a "
                f"halved group {sum(shortfall.values()) / len(shortfall):6.3f} nats",
                flush=True,
            )
