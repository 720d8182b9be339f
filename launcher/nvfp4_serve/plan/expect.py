"""What a right start looks like, for a layout on a kind of machine. Pure."""

from pathlib import PurePath

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.plan.types import Expect


def expect(layout: Layout, *, on_gpu: bool) -> Expect:
    """Return the log lines and answers that show a right start."""
    return Expect(
        log_must=(),
        log_must_not=(),
        canary=str(PurePath(layout.folder) / "canary.json") if layout.folder else None,
    )
