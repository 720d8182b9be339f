"""Which recipe fits which machine: what both pages about recipes are written from."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from nvfp4_serve.host.facts import read_facts
from nvfp4_serve.host.types import Host
from nvfp4_serve.recipe.choose import choose
from nvfp4_serve.recipe.judge import judge
from nvfp4_serve.recipe.load import load_recipes
from nvfp4_serve.recipe.types import Recipe, Verdict

TOP: Final = Path(__file__).resolve().parents[1]
HOSTS: Final = TOP / "tests" / "data" / "hosts"
#: What a note of a recipe begins with that nobody published for its machine.
CARRIED: Final = "Carried over"


@dataclass(frozen=True, slots=True)
class Machine:
    """A column: a host file, and how many such machines there are."""

    id: str
    name: str
    facts: str
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Family:
    """Machines of one kind, the smallest first."""

    id: str
    name: str
    about: str
    machines: tuple[Machine, ...]


FAMILIES: Final = (
    Family(
        "gb10", "GB10", "12.1, unified memory",
        (
            Machine("gb10", "GB10", "gb10"),
            Machine("gb10x2", "2 x GB10", "gb10x2-node", 2),
            Machine("gb10x4", "4 x GB10", "gb10x2-node", 4),
            Machine("gb10x8", "8 x GB10", "gb10x2-node", 8),
        ),
    ),
    Family(
        "rtx-5090", "RTX 5090", "12.0, 32 GB",
        (Machine("rtx-5090", "RTX 5090", "rtx-5090"),),
    ),
    Family(
        "rtx-pro-5000", "RTX PRO 5000", "12.0, 48 GB",
        (Machine("rtx-pro-5000", "RTX PRO 5000", "rtx-pro-5000"),),
    ),
    Family(
        "rtx-pro-6000", "RTX PRO 6000", "12.0, 96 GB",
        tuple(
            Machine(
                f"rtx-pro-6000x{count}",
                "RTX PRO 6000" if count == 1 else f"{count} x RTX PRO 6000",
                f"rtx-pro-6000x{count}",
            )
            for count in (1, 2, 4, 8)
        ),
    ),
    Family(
        "b200", "B200, GB200", "10.0",
        (
            Machine("b200x8", "8 x B200", "b200x8"),
            Machine("gb200x4", "4 x GB200", "gb200x4"),
            Machine("b200x8x2", "2 x (8 x B200)", "b200x8", 2),
        ),
    ),
    Family(
        "b300", "B300, GB300", "10.3",
        (
            Machine("b300x8", "8 x B300", "b300x8"),
            Machine("gb300x4", "4 x GB300", "gb300x4"),
            Machine("gb300x4x2", "2 x (4 x GB300)", "gb300x4", 2),
        ),
    ),
    Family(
        "hopper", "H100, H200", "9.0, no FP4 units",
        (
            Machine("h100x8", "8 x H100", "h100x8"),
            Machine("h200x8", "8 x H200", "h200x8"),
        ),
    ),
)  # fmt: skip
MACHINES: Final = tuple(one for family in FAMILIES for one in family.machines)


@dataclass(frozen=True, slots=True)
class Cell:
    """What the recipes of a model say of a machine.

    Attributes:
        kind: ``published``, ``carried`` (over from another machine), ``blocked`` or
            ``none``.
        best: The verdict on the recipe that is taken; where none is, on the one that
            is the fewest conditions short.
        others: Other recipes that fit.
    """

    machine: Machine
    kind: str
    best: Verdict
    others: tuple[Recipe, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A row: a recipe file."""

    id: str
    hub: str
    source: str
    about: str
    recipes: tuple[Recipe, ...]
    cells: tuple[Cell, ...]

    def cell(self, machine: Machine) -> Cell:
        """Return what is said of ``machine``."""
        return next(cell for cell in self.cells if cell.machine == machine)


def shown(model: Model, family: Family) -> Cell | None:
    """Return the cell of the smallest machines; None: no recipe is for any of them.

    One that works goes before one that does not.
    """
    cells = [model.cell(machine) for machine in family.machines]
    for kinds in (("published", "carried"), ("blocked",)):
        found = [cell for cell in cells if cell.kind in kinds]
        if found:
            return min(found, key=lambda cell: (cell.machine.nodes, _gpus(cell)))
    return None


def size_of(cell: Cell) -> str:
    """Return how much of a family the recipe takes, where it is more than one GPU."""
    if cell.machine.nodes > 1:
        return f"{cell.machine.nodes} machines"
    return f"{_gpus(cell)} GPUs" if _gpus(cell) != 1 else ""


def _gpus(cell: Cell) -> int:
    tensor_parallel = cell.best.recipe.args.get("--tensor-parallel-size")
    count = tensor_parallel.value if tensor_parallel else 1
    return count if isinstance(count, int) else 1


def is_carried(recipe: Recipe) -> bool:
    """Return whether nobody published this for its machine."""
    return any(note.startswith(CARRIED) for note in recipe.notes)


def kind_of(recipe: Recipe) -> str:
    """Return the word for a recipe, as in `Cell.kind`."""
    if recipe.blocked is not None:
        return "blocked"
    return "carried" if is_carried(recipe) else "published"


def when_text(recipe: Recipe) -> str:
    """Return the machines that a recipe is for, in words."""
    when = recipe.when
    said = {
        "compute capability": when.compute_capability,
        "GPUs": tuple(one.text for one in when.gpus),
        "memory of each": tuple(one.text for one in when.gpu_memory),
        "CPU": when.architecture,
        "driver": tuple(one.text for one in when.driver),
        "machines": tuple(one.text for one in when.nodes),
    }
    parts = [f"{key} {' or '.join(words)}" for key, words in said.items() if words]
    if when.unified is not None:
        parts.append("unified memory" if when.unified else "memory of its own")
    return ", ".join(parts)


def nodes_of(recipe: Recipe) -> int:
    """Return how many machines it is for at least."""
    lows = [one.low[0] for one in recipe.when.nodes if one.low]
    return min(lows, default=1)


@cache
def models() -> tuple[Model, ...]:
    """Return every model that has a recipe file, by the name on the Hub."""
    files: dict[str, list[Recipe]] = {}
    for recipe in load_recipes():
        files.setdefault(recipe.id.partition("/")[0], []).append(recipe)
    found = (_model(name, tuple(recipes)) for name, recipes in files.items())
    return tuple(sorted(found, key=lambda model: _name(model.hub)))


def _name(hub: str) -> tuple[str, str]:
    owner, _, name = hub.casefold().partition("/")
    return name, owner


def _model(name: str, recipes: tuple[Recipe, ...]) -> Model:
    first = recipes[0]
    return Model(
        id=name,
        hub=first.model_id,
        source=first.model_source,
        about=_about(Path(first.path)),
        recipes=recipes,
        cells=tuple(_cell(machine, recipes) for machine in MACHINES),
    )


def _about(path: Path) -> str:
    """Return the words at the head of a recipe file."""
    head = re.match(r"(# .*\n)*", path.read_text())
    lines = head[0].splitlines() if head else []
    return " ".join(line.removeprefix("# ") for line in lines)


@cache
def _host(name: str) -> Host:
    return read_facts(HOSTS / f"{name}.json")


def _cell(machine: Machine, recipes: tuple[Recipe, ...]) -> Cell:
    verdicts = judge(recipes, None, _host(machine.facts), nodes=machine.nodes)
    taken = choose(verdicts).verdict
    if taken is not None:
        others = tuple(v.recipe for v in verdicts if v.fits and v is not taken)
        return Cell(machine, kind_of(taken.recipe), taken, others)
    nearest = min(verdicts, key=_missed)
    kind = "none" if _missed(nearest) else "blocked"
    return Cell(machine, kind, nearest)


def _missed(verdict: Verdict) -> int:
    """Return how many conditions on the machine do not hold."""
    return sum(reason.condition != "blocked" for reason in verdict.missed)
