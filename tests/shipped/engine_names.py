"""Print, as JSON, the names that the engine's vLLM registers. Its Python runs this.

To write the recorded file again (the path is `engine path`'s, or any patched engine's):
``PYTHON tests/shipped/engine_names.py > recipes/flags/names-vllm-0.32.0.json``.
"""

import json
import os
import sys
from typing import Any


def names() -> dict[str, Any]:
    """Return every name that a recipe may use and `vllm serve --help` does not list."""
    from vllm.config.model import TokenizerMode
    from vllm.model_executor.model_loader import _LOAD_FORMAT_TO_MODEL_LOADER
    from vllm.model_executor.models import registry
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager
    from vllm.v1.attention.backends.registry import AttentionBackendEnum
    from vllm.version import __version__

    return {
        "vllm": __version__.partition("+")[0],
        "architectures": sorted(registry.ModelRegistry.get_supported_archs()),
        # Those that take images, sound or video; the rest read text alone.
        "multimodal": sorted(registry._MULTIMODAL_MODELS),
        "tool_parsers": sorted(ToolParserManager.list_registered()),
        "reasoning_parsers": sorted(ReasoningParserManager.list_registered()),
        "tokenizer_modes": sorted(TokenizerMode.__args__),
        "load_formats": sorted(_LOAD_FORMAT_TO_MODEL_LOADER),
        "attention_backends": sorted(AttentionBackendEnum.__members__),
    }


if __name__ == "__main__":
    # vLLM logs to stdout; what this prints is data.
    data, sys.stdout = sys.stdout, sys.stderr
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    data.write(json.dumps(names(), indent=1) + "\n")
