"""Qwen3 and Qwen3-MoE in numpy float32: what a right engine must answer.

Written from the published architecture, for short texts; speed is no aim.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from twins.bench import Judgement, Tokens
from twins.checkpoint_weights import Weights, read_weights
from twins.nvfp4_arithmetic import Floats, round_activation, round_e4m3

_ARCHITECTURES: Final = ("Qwen3ForCausalLM", "Qwen3MoeForCausalLM")


def log_softmax(scores: Floats) -> Floats:
    """Return log-probabilities over the last dimension."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


class Qwen3Reference:
    """A Qwen3 or Qwen3-MoE model over given weights.

    Args:
        config: The content of config.json.
        weights: Dequantized weights under the checkpoint's own names.
        rounds_activations: Compute W4A4, as a GPU does: round the input of every
            layer that has a calibrated scale. Otherwise weight-only.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Weights,
        *,
        rounds_activations: bool = False,
    ) -> None:
        _refuse_what_is_not_here(config)
        self._config = config
        self._weights = weights
        self._rounds_activations = rounds_activations
        self._heads: int = config["num_attention_heads"]
        self._kv_heads: int = config["num_key_value_heads"]
        self._head_dim: int = config["head_dim"]
        self._routing_leads: list[Floats] = []

    def judge(self, tokens: Tokens) -> Judgement:
        """Return what a right model says at each token of a text."""
        self._routing_leads = [np.full(len(tokens), np.inf, np.float32)]
        logprobs = self._logprobs(tokens)
        return Judgement(logprobs, np.min(self._routing_leads, axis=0))

    def _logprobs(self, tokens: Tokens) -> Floats:
        hidden = self._tensor("model.embed_tokens.weight")[list(tokens)]
        for layer in range(self._config["num_hidden_layers"]):
            prefix = f"model.layers.{layer}"
            normed = self._rms_norm(hidden, f"{prefix}.input_layernorm")
            hidden = hidden + self._attention(normed, f"{prefix}.self_attn")
            normed = self._rms_norm(hidden, f"{prefix}.post_attention_layernorm")
            hidden = hidden + self._feed_forward(normed, f"{prefix}.mlp", layer)
        tied = self._config["tie_word_embeddings"]
        head = "model.embed_tokens" if tied else "lm_head"
        return log_softmax(self._linear(self._rms_norm(hidden, "model.norm"), head))

    def _tensor(self, name: str) -> Floats:
        return self._weights.tensors[name]

    def _linear(self, hidden: Floats, module: str) -> Floats:
        scale = self._weights.input_scales.get(module)
        if self._rounds_activations and scale is not None:
            hidden = round_activation(hidden, scale)
        return hidden @ self._tensor(f"{module}.weight").T

    def _rms_norm(self, hidden: Floats, module: str) -> Floats:
        variance = np.mean(hidden**2, axis=-1, keepdims=True)
        normed: Floats = hidden / np.sqrt(variance + self._config["rms_norm_eps"])
        return normed * self._tensor(f"{module}.weight")

    def _rotated(self, heads: Floats) -> Floats:
        """Return [heads, T, head_dim] with position t turned by RoPE, halves paired."""
        half = self._head_dim // 2
        theta = _rope_theta(self._config)
        turns = theta ** -(np.arange(half, dtype=np.float32) / half)
        angles = np.arange(heads.shape[1], dtype=np.float32)[:, None] * turns
        cos, sin = np.cos(angles), np.sin(angles)
        left, right = heads[..., :half], heads[..., half:]
        turned = [left * cos - right * sin, right * cos + left * sin]
        return np.concatenate(turned, axis=-1).astype(np.float32)

    def _split(self, hidden: Floats, heads: int) -> Floats:
        return hidden.reshape(-1, heads, self._head_dim).swapaxes(0, 1)

    def _cached(self, values: Floats, scale_name: str) -> Floats:
        """Return keys or values as an FP8 KV cache gives them back, if it is one."""
        scale = self._weights.tensors.get(scale_name)
        if scale is None:
            return values
        return round_e4m3(values / scale) * scale

    def _attention(self, hidden: Floats, prefix: str) -> Floats:
        query = self._split(self._linear(hidden, f"{prefix}.q_proj"), self._heads)
        key = self._split(self._linear(hidden, f"{prefix}.k_proj"), self._kv_heads)
        value = self._split(self._linear(hidden, f"{prefix}.v_proj"), self._kv_heads)
        query = self._rotated(self._rms_norm(query, f"{prefix}.q_norm"))
        key = self._rotated(self._rms_norm(key, f"{prefix}.k_norm"))
        key = self._cached(key, f"{prefix}.k_proj.k_scale")
        value = self._cached(value, f"{prefix}.v_proj.v_scale")
        group = self._heads // self._kv_heads
        key, value = np.repeat(key, group, axis=0), np.repeat(value, group, axis=0)
        scores = query @ key.swapaxes(1, 2) / np.sqrt(np.float32(self._head_dim))
        future = np.triu(np.ones(scores.shape[1:], dtype=bool), k=1)
        attention = np.exp(log_softmax(np.where(future, -np.inf, scores)))
        mixed = (attention @ value).swapaxes(0, 1).reshape(hidden.shape[0], -1)
        return self._linear(mixed, f"{prefix}.o_proj")

    def _feed_forward(self, hidden: Floats, prefix: str, layer: int) -> Floats:
        if _is_sparse(self._config, layer):
            return self._experts(hidden, prefix)
        return self._swiglu(hidden, prefix)

    def _swiglu(self, hidden: Floats, prefix: str) -> Floats:
        gate = self._linear(hidden, f"{prefix}.gate_proj")
        up = self._linear(hidden, f"{prefix}.up_proj")
        # SiLU by tanh: exp(-gate) overflows where a fault makes gates huge.
        swish = gate * (1 + np.tanh(gate / 2)) / 2
        return self._linear(swish * up, f"{prefix}.down_proj")

    def _experts(self, hidden: Floats, prefix: str) -> Floats:
        scores = log_softmax(self._linear(hidden, f"{prefix}.gate"))
        ranked = np.argsort(-scores, axis=-1, kind="stable")
        top = self._config["num_experts_per_tok"]
        edge = np.take_along_axis(scores, ranked[:, top - 1 : top + 1], axis=-1)
        self._routing_leads.append(edge[:, 0] - edge[:, 1])
        chosen = ranked[:, :top]
        weight = np.exp(np.take_along_axis(scores, chosen, axis=-1))
        if self._config["norm_topk_prob"]:
            weight = weight / weight.sum(axis=-1, keepdims=True)
        output = np.zeros_like(hidden)
        for expert in np.unique(chosen):
            rows, places = np.nonzero(chosen == expert)
            answer = self._swiglu(hidden[rows], f"{prefix}.experts.{expert}")
            output[rows] += answer * weight[rows, places, None]
        return output


def load_reference(folder: Path, *, rounds_activations: bool = False) -> Qwen3Reference:
    """Return the reference model of a checkpoint folder."""
    config = json.loads((folder / "config.json").read_text())
    return Qwen3Reference(
        config, read_weights(folder), rounds_activations=rounds_activations
    )


def _is_sparse(config: Mapping[str, Any], layer: int) -> bool:
    if config["architectures"] == ["Qwen3ForCausalLM"]:
        return False
    step: int = config["decoder_sparse_step"]
    return layer not in config["mlp_only_layers"] and (layer + 1) % step == 0


def _rope_theta(config: Mapping[str, Any]) -> np.float32:
    # transformers 5 writes `rope_parameters`; 4 wrote `rope_theta` at the top.
    rope = config.get("rope_parameters", config)
    return np.float32(rope["rope_theta"])


def _refuse_what_is_not_here(config: Mapping[str, Any]) -> None:
    """Raise ValueError for a model that this reference would compute wrongly."""
    rope = config.get("rope_parameters", {})
    refused = {
        "architecture": config["architectures"][0] not in _ARCHITECTURES,
        "attention_bias": config["attention_bias"],
        "hidden_act": config["hidden_act"] != "silu",
        "rope scaling": rope.get("rope_type", "default") != "default",
        "sliding window": config["use_sliding_window"],
    }
    if any(refused.values()):
        said = ", ".join(name for name, is_refused in refused.items() if is_refused)
        raise ValueError(f"the numpy reference does not know: {said}")
