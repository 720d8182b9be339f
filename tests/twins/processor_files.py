"""What vLLM asks of a multimodal checkpoint beside its weights, for text alone."""

import json
from pathlib import Path
from typing import Any, Final

#: Qwen3-VL's own names, at the ids that the twins' configs give them.
_SPECIAL: Final = {
    "<|image_pad|>": 280,
    "<|video_pad|>": 281,
    "<|vision_start|>": 282,
    "<|vision_end|>": 283,
}
_WORDS: Final = 288
#: The options of a bench that serves the text half of such a checkpoint.
OPTIONS: Final[dict[str, object]] = {
    "skip_tokenizer_init": False,
    "limit_mm_per_prompt": {"image": 0, "video": 0},
}


def write_processor_files(folder: Path) -> None:
    """Write a tokenizer of one word a token, and the processors' settings."""
    names = {number: name for name, number in _SPECIAL.items()}
    words = {names.get(number, f"w{number}"): number for number in range(_WORDS)}
    added = [_added(name, number) for name, number in _SPECIAL.items()]
    files: dict[str, Any] = {
        "tokenizer.json": {
            "version": "1.0",
            "added_tokens": added,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "w0",
            "pad_token": "w0",
        },
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "size": {"shortest_edge": 1024, "longest_edge": 65536},
        },
        "video_preprocessor_config.json": {
            "video_processor_type": "Qwen3VLVideoProcessor",
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "size": {"shortest_edge": 1024, "longest_edge": 65536},
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def _added(name: str, number: int) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False}
    return {
        "id": number,
        "content": name,
        "special": True,
        "normalized": False,
        **plain,
    }
