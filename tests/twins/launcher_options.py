"""What the launcher plans for a checkpoint, as arguments of vLLM's ``LLM``."""

import itertools
import json
from typing import Final

from hosts import cpu_host
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.plan import Request, make_plan
from nvfp4_serve.recipe.knowledge import load_knowledge

#: They decide how a checkpoint is read; for the rest a bench has its own.
_JSON: Final = ("--hf-overrides", "--model-loader-extra-config")
_TEXT: Final = ("--load-format", "--kv-cache-dtype", "--quantization")


def options_of(layout: Layout) -> dict[str, object]:
    """Return the options that decide how the checkpoint is read."""
    argv = make_plan(layout, cpu_host(), Request(), load_knowledge()).argv
    options: dict[str, object] = {}
    for flag, value in itertools.pairwise(argv):
        name = flag.removeprefix("--").replace("-", "_")
        if flag in _JSON:
            options[name] = json.loads(value)
        elif flag in _TEXT:
            options[name] = value
    return options
