"""The matrix: each layout of each architecture, in published vLLM and in ours.

Run as ``python -m twins.matrix`` (``make twins``), it writes ``results/matrix.json``.
"""

import contextlib
import dataclasses
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from engines import twins_python
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.finding import Severity
from twins.bench import Bench, EngineAnswer, LoadError, Tokens
from twins.exports import Export, make_exports
from twins.launcher_options import options_of
from twins.plain import Tensors, make_plain, rearranged
from twins.processor_files import OPTIONS, write_processor_files
from twins.specimens import random_texts

RESULTS: Final = Path(__file__).parent / "results" / "matrix.json"
#: Of every twin of the matrix.
_VOCABULARY: Final = 256
_TEXTS: Final[tuple[Tokens, ...]] = random_texts(_VOCABULARY)[1:]


Trees = Mapping[str, "Tree"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One checkpoint of the matrix.

    Attributes:
        layout: The layout id that `inspect` is to give.
        kind: What sort of that layout it is, for a reader.
        export: What the producer made of it.
        change: What was made of that afterwards; None where nothing was.
        right: The export whose plain twin has the right answers; None: its own.
        options: More of vLLM's arguments, for both trees and the plain twin.
        tolerance: How far an answer may be from its plain twin's, nats. Both run on
            one engine: most must be equal to the last bit.
    """

    layout: str
    kind: str
    export: Export
    change: Callable[[Tensors], Tensors] | None = None
    right: Export | None = None
    options: tuple[tuple[str, object], ...] = ()
    tolerance: float = 0.0

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.export.architecture}, {self.kind}"

    @property
    def judge(self) -> Export:
        """The export whose plain twin has the right answers."""
        return self.right or self.export

    @property
    def needs_processor(self) -> bool:
        """Whether vLLM asks for a tokenizer and an image processor."""
        return self.export.architecture.endswith("ForConditionalGeneration")

    @property
    def engine_options(self) -> dict[str, object]:
        """vLLM's arguments, for whoever is asked."""
        more = OPTIONS if self.needs_processor else {}
        return {**more, **dict(self.options)}


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What one tree made of one checkpoint.

    Attributes:
        verdict: ``right``, ``wrong answers``, ``refused``, ``does not start``.
        words: The difference in nats, or the first line of what was said.
    """

    verdict: str
    words: str


class Tree:
    """One tree of the matrix, in one process for as many checkpoints as it lives."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._log = folder / f"{name}.log"
        self._bench: Bench | None = None

    def ask(
        self, model: Path, options: Mapping[str, object]
    ) -> tuple[EngineAnswer, ...]:
        """Return its answers; a new process takes the place of one that died."""
        if self._bench is None:
            self._bench = Bench(twins_python(self._name), self._log)
        try:
            return self._bench.run(model, _TEXTS, max_tokens=2, options=options)
        except LoadError as error:
            if str(error).startswith("the engine died"):
                self._bench = None
            raise

    def close(self) -> None:
        """End its process."""
        if self._bench is not None:
            self._bench.__exit__()


@contextlib.contextmanager
def trees(folder: Path) -> Iterator[Trees]:
    """Yield both trees; their processes end with the context."""
    made = {name: Tree(name, folder) for name in ("stock", "ours")}
    try:
        yield made
    finally:
        for tree in made.values():
            tree.close()


def run(
    rows: Sequence[Row], trees: Trees, folder: Path
) -> dict[str, dict[str, object]]:
    """Return, by the row's name, what became of each; ``folder`` is for scratch."""
    make_exports(export for row in rows for export in (row.export, row.judge))
    models = {row: _model(row, folder / str(n)) for n, row in enumerate(rows)}
    right = _right_answers(rows, trees["ours"], folder)
    found = {}
    for row in rows:
        found[row.name] = _result(row, models[row], right[row.judge], trees)
        sys.stderr.write(f"{row.name}: {json.dumps(found[row.name])}\n")
    return found


def _model(row: Row, folder: Path) -> Path | None:
    if row.export.refusal is not None:
        return None
    if row.change is not None:
        rearranged(row.export.folder, folder, row.change)
    else:
        shutil.copytree(row.export.folder, folder)
    if row.needs_processor:
        write_processor_files(folder)
    return folder


def _right_answers(
    rows: Iterable[Row], tree: Tree, folder: Path
) -> dict[Export, tuple[EngineAnswer, ...] | str]:
    """Return what the plain twin of each export says, or why it says nothing."""
    answers: dict[Export, tuple[EngineAnswer, ...] | str] = {}
    for row in rows:
        export = row.judge
        if export in answers:
            continue
        if export.refusal is not None:
            answers[export] = export.refusal
            continue
        plain = folder / f"plain-{len(answers)}"
        try:
            make_plain(export.folder, plain)
            if row.needs_processor:
                write_processor_files(plain)
            answers[export] = tree.ask(plain, row.engine_options)
        except (LoadError, ValueError) as error:
            answers[export] = first_line(error)
    return answers


def _result(
    row: Row,
    model: Path | None,
    right: tuple[EngineAnswer, ...] | str,
    trees: Trees,
) -> dict[str, object]:
    about: dict[str, object] = {
        "architecture": row.export.architecture,
        "layout": row.layout,
        "kind": row.kind,
        "producer": row.export.environment.producer,
    }
    if model is None:
        return {**about, "not made": row.export.refusal}
    if isinstance(right, str):
        about["no plain twin"] = right
    layout = read_layout(read_checkpoint(str(model)))
    about["recognised"] = layout.layout
    for name, tree in trees.items():
        is_planned = name == "ours" and layout.servable
        planned = options_of(layout) if is_planned else {}
        options = {**planned, **row.engine_options}
        verdict = _judged(tree, model, options, right, row.tolerance)
        about[f"{name} engine"] = dataclasses.asdict(verdict)
    about["stock"] = about.pop("stock engine")
    about["ours"] = about["ours engine"]
    if not layout.servable:
        about["ours"] = dataclasses.asdict(Verdict("refused", _worst(layout)))
    return about


def _worst(layout: Layout) -> str:
    found = next(f for f in layout.findings if f.severity is Severity.ERROR)
    return f"[{found.id}] {found.message.splitlines()[0]}"


def _judged(
    tree: Tree,
    model: Path,
    options: Mapping[str, object],
    right: tuple[EngineAnswer, ...] | str,
    tolerance: float,
) -> Verdict:
    try:
        answers = tree.ask(model, options)
    except LoadError as error:
        return Verdict(_refusal_of(error), first_line(error))
    if isinstance(right, str):
        return Verdict("answers, unjudged", right)
    apart = furthest(answers, right)
    # Written so that a NaN is wrong.
    is_right = apart <= tolerance
    return Verdict("right" if is_right else "wrong answers", f"{apart:.2g} nats")


def _refusal_of(error: LoadError) -> str:
    """Return whether our own code said no, or vLLM did not come up."""
    ours = ("RewriteError", "ScaleError")
    return "refused" if str(error).startswith(ours) else "does not start"


def first_line(error: Exception) -> str:
    """Return what an engine said first, without this run's own folders."""
    lines = str(error).strip().splitlines()
    said = lines[0].strip()
    if said.endswith("Error:"):  # vLLM gave no words; its source says what it wanted.
        where = max(n for n, line in enumerate(lines) if "  File " in line)
        file, _, function = lines[where].strip().rpartition(", in ")
        place = re.sub(r'^File ".*/site-packages/(.*)", line \d+$', r"\1", file)
        said = f"{said} {lines[where + 1].strip()} ({place}, {function})"
    return said


def furthest(answers: Sequence[EngineAnswer], right: Sequence[EngineAnswer]) -> float:
    """Return the largest difference of any log-probability of the given texts."""
    apart = 0.0
    for answer, correct in zip(answers, right, strict=True):
        said = (*answer.prompt_logprobs, answer.top_logprobs[0])
        wanted = (*correct.prompt_logprobs, correct.top_logprobs[0])
        for here, there in zip(said, wanted, strict=True):
            for token in here.keys() & there.keys():
                apart = max(apart, abs(here[token] - there[token]))
                if math.isnan(here[token]):
                    return math.nan
    return apart


def main() -> int:
    """Run every row and write the results."""
    from twins.rows import ROWS

    with tempfile.TemporaryDirectory() as name, trees(Path(name)) as both:
        found = run(ROWS, both, Path(name))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
