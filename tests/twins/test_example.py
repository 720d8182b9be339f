"""The shipped example recites, by our own arithmetic: no engine, no torch."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from twins.bench import Tokens
from twins.byte_bpe import Encoder
from twins.checkpoint_weights import read_tensors
from twins.corruption import (
    Fault,
    corrupted,
    global_scale_of_one,
    halved_block_scales,
    swapped_nibbles,
)
from twins.qwen3_reference import load_reference
from twins.specimens import EXAMPLE

_CANARY: dict[str, str] = json.loads((EXAMPLE / "canary.json").read_text())
_SONNET = (EXAMPLE.parent / "sonnet-18.txt").read_text().rstrip("\n")


def _least_lead(folder: Path, *, rounds_activations: bool = False) -> float:
    """Return the least lead of a right token over the next best, in nats."""
    reference = load_reference(folder, rounds_activations=rounds_activations)
    leads = [
        _leads(reference.judge(prompt + answer).logprobs, prompt, answer)
        for prompt, answer in _recitals()
    ]
    return min(chain.from_iterable(leads))


def _leads(
    logprobs: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    prompt: Tokens,
    answer: Tokens,
) -> list[float]:
    rows = logprobs[len(prompt) - 1 : -1].copy()
    own = rows[np.arange(len(answer)), answer].copy()
    rows[np.arange(len(answer)), answer] = -np.inf
    leads: list[float] = (own - rows.max(axis=-1)).tolist()
    return leads


def _recitals() -> list[tuple[Tokens, Tokens]]:
    encoder = Encoder(EXAMPLE / "tokenizer.json")
    ends = {prompt: "<|im_end|>" for prompt in _CANARY if "<|im_start|>" in prompt}
    return [
        (
            encoder.encode(prompt),
            encoder.encode(text + ends.get(prompt, "<|endoftext|>")),
        )
        for prompt, text in _CANARY.items()
    ]


def test_the_canary_asks_for_the_whole_sonnet_in_both_ways() -> None:
    plain, chat = _CANARY.items()

    assert plain[0] + plain[1] == _SONNET
    assert chat[1] == _SONNET
    assert len(_SONNET.splitlines()) == 14


@pytest.mark.parametrize("rounds_activations", [False, True], ids=["W4A16", "W4A4"])
def test_the_example_recites_with_a_wide_lead(*, rounds_activations: bool) -> None:
    assert _least_lead(EXAMPLE, rounds_activations=rounds_activations) > 2


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(halved_block_scales(""), id="all-block-scales-halved"),
        pytest.param(halved_block_scales(".experts."), id="experts-halved"),
        pytest.param(halved_block_scales("0.self_attn.v_proj"), id="one-v-proj-halved"),
        pytest.param(halved_block_scales("1.mlp.experts.3."), id="one-expert-halved"),
        pytest.param(global_scale_of_one, id="global-scale-forgotten"),
        pytest.param(swapped_nibbles, id="nibbles-swapped"),
    ],
)
def test_the_example_does_not_recite_with_wrong_scales(
    fault: Fault, tmp_path: Path
) -> None:
    assert _least_lead(corrupted(EXAMPLE, tmp_path / "copy", fault)) < 0


def test_all_widths_of_the_example_are_distinct() -> None:
    tensors = read_tensors(EXAMPLE)
    layer = "model.layers.0"
    names = ("self_attn.q_proj", "self_attn.k_proj", "mlp.experts.0.gate_proj")
    q, kv, expert = (tensors[f"{layer}.{n}.weight"].data.shape[0] for n in names)
    vocabulary, hidden = tensors["lm_head.weight"].data.shape

    assert len({hidden, q, kv, expert, 2 * expert, vocabulary}) == 6


def test_the_example_is_small_and_greedy_by_default() -> None:
    generation = json.loads((EXAMPLE / "generation_config.json").read_text())

    assert sum(file.stat().st_size for file in EXAMPLE.iterdir()) < 2_000_000
    assert generation["temperature"] == 0.0
