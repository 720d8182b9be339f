"""Checkpoint -> the same weights under the names and the config that loaders know.

Nothing is decided here of what a tensor becomes: that is ``nvfp4_layouts``, which the
engine's adapter follows too.
"""

from pathlib import Path

from nvfp4_serve.checkpoint.types import Checkpoint, Layout
from nvfp4_serve.repair.finished import find_finished
from nvfp4_serve.repair.make import check_need, make_repair
from nvfp4_serve.repair.partial import check_target
from nvfp4_serve.repair.report import report
from nvfp4_serve.repair.run import file_system, run_repair
from nvfp4_serve.repair.source import read_source
from nvfp4_serve.repair.space import free_bytes
from nvfp4_serve.repair.types import Repair, Say

__all__ = ["Repair", "free_room", "plan_repair", "report", "run_repair"]


def plan_repair(checkpoint: Checkpoint, layout: Layout) -> Repair:
    """Return what is to be done to ``checkpoint``; nothing is written.

    Raises:
        CheckpointError: It is not on this machine, or cannot be repaired.
        UsageError: There is nothing to repair.
    """
    # First, so that nobody downloads what cannot be repaired.
    check_need(layout, layout.rewrites)
    return make_repair(read_source(checkpoint), layout)


def free_room(repair: Repair, target: Path, say: Say) -> int:
    """Return the bytes that are free for ``target``; say so, if it is there already.

    Raises:
        UsageError: ``repair`` cannot be written there.
    """
    place = check_target(target, repair.source.folder)
    with file_system(place):
        find_finished(place, repair, say)
        return free_bytes(place.parent)
