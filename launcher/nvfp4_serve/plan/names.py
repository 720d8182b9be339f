"""The name under which a model is served. Pure."""

from pathlib import PurePath

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.errors import UsageError


def served_name(layout: Layout, wanted: str | None) -> str:
    """Return the name that requests give.

    Args:
        layout: The checkpoint.
        wanted: What the user asked for; None: the folder's name, or the Hub id, whether
            it is in the cache or not.

    Raises:
        UsageError: The engine would read it as a flag.
    """
    name = wanted or _default(layout)
    # vLLM 0.32.0 takes several names (nargs="+"), so what begins with a dash ends them.
    if name.startswith("-"):
        raise UsageError(
            f"The model would be served as {name!r}, which vLLM reads as a flag.",
            fix="Give it another name with `--served-model-name`.",
        )
    return name


def _default(layout: Layout) -> str:
    if layout.folder is None or layout.revision is not None:
        return layout.model
    return PurePath(layout.folder).name
