"""How the weights reach the engine: the adapter, and vLLM's own tracking. Pure."""

from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.types import Reason

TRACKED: Final = Choice(
    "--model-loader-extra-config",
    '{"enable_weights_track": true}',
    "A weight or scale that the checkpoint lacks stops the start; by itself vLLM "
    "serves whatever was in that memory.",
    "vLLM 0.32.0, model_loader/default_loader.py, track_weights_loading",
)
#: The load formats of safetensors whose loader takes that key; the loaders of others
#: refuse to start with it. vLLM 0.32.0, model_loader/__init__.py,
#: _LOAD_FORMAT_TO_MODEL_LOADER.
_TRACKING: Final = frozenset(
    {None, "auto", "hf", "safetensors", "fastsafetensors", "instanttensor", "mistral"}
)
#: The load formats whose streams the adapter stands in front of: those that read
#: safetensors as they were written. patches/plugin, nvfp4_serve_engine/adapter.py.
_ADAPTED: Final = _TRACKING | {"runai_streamer"}
#: Layouts of which vLLM registers the very parameters that are stored, once the
#: adapter has renamed what it has to.
_COMPLETE: Final = frozenset(
    {
        "modelopt-per-expert",
        "modelopt-projection-first",
        "modelopt-state-dict",
        "compressed-tensors",
    }
)
#: Where experts are left fused, a model's own loader reports what it has loaded, and
#: some do not report all of it.
_COMPLETE_REWRITTEN: Final = frozenset({"modelopt-fused"})
#: What the adapter does, by the kind of ``nvfp4_layouts.rewrite``.
_DONE: Final = {
    "projection-first": "The experts' tensors are shown with the number in front of "
    "the projection.",
    "quantizer-state": "The state of the quantizers is shown as the scales of an "
    "export.",
    "fused": "The experts that are stored in one tensor are shown one by one.",
    "packed-name": "The packed weights are shown as `weight`.",
}


def adapter_reasons(layout: Layout, load_format: str | None) -> tuple[Reason, ...]:
    """Return what becomes of the weights between the files and vLLM's loader.

    Args:
        layout: The checkpoint.
        load_format: ``--load-format``, where the user gave it.

    Raises:
        UsageError: The adapter does not stand in front of that loader.
    """
    if not layout.rewrites:
        return ()
    if load_format not in _ADAPTED:
        raise UsageError(
            f"`--load-format {load_format}` reads the weights past the adapter, which "
            f"{layout.layout} needs.",
            evidence=tuple(map(_done, layout.rewrites)),
            fix="Use `auto`, `fastsafetensors`, `instanttensor` or `runai_streamer`; "
            "or write a copy that any loader can read with `nvfp4-serve repair SRC "
            "DST`.",
        )
    done = " ".join(map(_done, layout.rewrites))
    why = (
        f"{done} The managed engine does it while it loads; for another vLLM, write a "
        "copy with `nvfp4-serve repair SRC DST`."
    )
    source = "patches/plugin, nvfp4_serve_engine/adapter.py and nvfp4_layouts"
    return (Reason("weights", why, source),)


def tracking_choices(layout: Layout, load_format: str | None) -> tuple[Choice, ...]:
    """Return vLLM's own load tracking, where it is right about this layout.

    It refuses right W4A16 checkpoints: vLLM 0.32.0 registers input scales that these
    do not have, and counts them as missing.
    """
    schemes = {s for text in layout.schemes.values() for s in text.split("+")}
    complete = _COMPLETE | (_COMPLETE_REWRITTEN if layout.rewrites else frozenset())
    if load_format not in _TRACKING or "W4A16_NVFP4" in schemes:
        return ()
    return (TRACKED,) if layout.layout in complete else ()


def _done(kind: str) -> str:
    """Say what is done; a kind without words is a fault of this table."""
    return _DONE[kind]
