"""The small files of the result, as text. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from nvfp4_serve.checkpoint.index import INDEX_FILE
from nvfp4_serve.checkpoint.smallfile import parse_object
from nvfp4_serve.checkpoint.types import Overlay
from nvfp4_serve.repair.types import CONFIG, LEGACY

_KEY: Final = "quantization_config"
#: The other places where a config speaks of a quantization; vLLM 0.32.0 asks them too
#: (``transformers_utils/config.py``).
_OTHER_KEYS: Final = ("compression_config",)
_TEXT_CONFIGS: Final = ("text_config", "llm_config", "language_config")
#: A key of hf_quant_config.json, and what the same is called in config.json.
_LEGACY_KEYS: Final = {
    "quant_algo": "quant_algo",
    "kv_cache_quant_algo": "kv_cache_quant_algo",
    "exclude_modules": "ignore",
    "quantized_layers": "quantized_layers",
}


def new_config(data: bytes, overlay: Overlay) -> bytes:
    """Return config.json with the quantization config of ``overlay``, said once."""
    config = _loaded(data, CONFIG)
    holders = [config, *(config.get(key) for key in _TEXT_CONFIGS)]
    for holder in holders:
        if isinstance(holder, dict):
            for key in _OTHER_KEYS if holder is config else (_KEY, *_OTHER_KEYS):
                holder.pop(key, None)
    config[_KEY] = _plain(overlay.quantization_config)
    return _text(config)


def new_legacy(data: bytes, overlay: Overlay) -> bytes | None:
    """Return hf_quant_config.json so that it agrees; None: it has to go.

    The same bytes where it agrees already. It can only speak of what ModelOpt does, so
    it goes where the config has no ``quant_algo``.
    """
    legacy = _loaded(data, LEGACY)
    section, said = legacy.get("quantization"), _plain(overlay.quantization_config)
    if not isinstance(section, dict) or said.get("quant_algo") is None:
        return None
    right = {
        theirs: said[ours] for theirs, ours in _LEGACY_KEYS.items() if ours in said
    }
    if all(section.get(key) == value for key, value in right.items()):
        return data
    legacy["quantization"] = {**section, **right}
    return _text(legacy)


def new_index(data: bytes, weight_map: Mapping[str, str], total: int) -> bytes:
    """Return the index with another map; what else it says is kept."""
    index = _loaded(data, INDEX_FILE)
    metadata = index.get("metadata")
    index["metadata"] = {
        **(metadata if isinstance(metadata, dict) else {}),
        "total_size": total,
    }
    index["weight_map"] = dict(sorted(weight_map.items()))
    return _text(index)


def _loaded(data: bytes, label: str) -> dict[str, Any]:
    # Checked by the stricter reader first: size of numbers, depth, kind.
    parse_object(data, label=label)
    content: dict[str, Any] = json.loads(data)
    return content


def _plain(config: Mapping[str, object]) -> dict[str, Any]:
    """Return a copy made of plain dictionaries and lists."""
    plain: dict[str, Any] = json.loads(_text(config))
    return plain


def _text(content: Mapping[str, object]) -> bytes:
    return (
        json.dumps(content, indent=2, ensure_ascii=False, default=_listed).encode()
        + b"\n"
    )


def _listed(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} has no place in a config")
