"""How a seed's story is told: the bug shows in published vLLM, and not in ours."""

from pathlib import Path
from typing import Final

import pytest

from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from patches.probing import BugPresentError
from twins.bench import EngineAnswer, LoadError
from twins.exports import Export
from twins.launcher_options import options_of
from twins.matrix import Tree, Trees, furthest
from twins.plain import make_plain
from twins.processor_files import OPTIONS, write_processor_files

#: Every story is told twice. The first telling has to meet the bug.
TREES: Final = (
    pytest.param("stock", marks=pytest.mark.xfail(strict=True, raises=BugPresentError)),
    pytest.param("ours"),
)


def ask_as_served(
    trees: Trees, tree: str, model: Path, bug: str
) -> tuple[EngineAnswer, ...]:
    """Return the answers to ``model``, with what the launcher plans for it.

    Raises:
        BugPresentError: The engine stopped with the words ``bug``.
    """
    layout = read_layout(read_checkpoint(str(model)))
    assert layout.servable, layout.findings
    return ask(trees[tree], model, {**options_of(layout), **_more(model)}, bug)


def ask(
    tree: Tree, model: Path, options: dict[str, object], bug: str
) -> tuple[EngineAnswer, ...]:
    """Return the answers to ``model``.

    Raises:
        BugPresentError: The engine stopped with the words ``bug``.
    """
    try:
        return tree.ask(model, options)
    except LoadError as error:
        if bug in str(error):
            raise BugPresentError(str(error).splitlines()[0]) from error
        raise


def nats_from_plain(
    trees: Trees, export: Export, answers: tuple[EngineAnswer, ...], folder: Path
) -> float:
    """Return how far ``answers`` are from those of the plain twin of ``export``."""
    make_plain(export.folder, folder)
    options = _more(folder)
    if options:
        write_processor_files(folder)
    return furthest(answers, trees["ours"].ask(folder, options))


def _more(model: Path) -> dict[str, object]:
    is_multimodal = "vision_config" in (model / "config.json").read_text()
    return dict(OPTIONS) if is_multimodal else {}
