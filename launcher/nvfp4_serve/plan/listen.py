"""What is asked for: the recipe's words, the user's, and both together. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Host
from nvfp4_serve.plan.asked_backends import check_refused
from nvfp4_serve.plan.backend_words import AskedBackends, read_asked_backends
from nvfp4_serve.plan.flags import asked_flags, check_flags
from nvfp4_serve.plan.nested import read_nested
from nvfp4_serve.plan.overlay import OVERRIDES, Overlaid, lay_over
from nvfp4_serve.plan.parallel import check_wishes
from nvfp4_serve.plan.recipes import take_recipe
from nvfp4_serve.plan.surroundings import check_variables
from nvfp4_serve.plan.told import Told, blamed, with_context
from nvfp4_serve.plan.types import Request
from nvfp4_serve.plan.values import check_values
from nvfp4_serve.plan.wishes import Wishes, read_wishes, settled
from nvfp4_serve.recipe.knowledge import Knowledge

#: The flags that decide on kernels, by the field of `AskedBackends`.
_DECIDING: Final = (
    ("moe", "--moe-backend"),
    ("linear", "--linear-backend"),
    ("attention", "--attention-backend"),
    ("draft_moe", "--speculative-config"),
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What some words mean.

    Attributes:
        asked: The flags among them.
        wishes: What they ask of memory and GPUs.
        backends: What they ask of kernels.
        overlaid: The config that the tensors ask for, with the keys of the words.
    """

    asked: frozenset[str]
    wishes: Wishes
    backends: AskedBackends
    overlaid: Overlaid


@dataclass(frozen=True, slots=True)
class Said:
    """What the recipe and the user say.

    Attributes:
        told: The recipe's part, without what the user or the overlay replaced.
        request: The user's part, with the recipe's context where the user gave none.
        both: What both mean together.
        recipe: What the recipe means alone; None where there is none.
    """

    told: Told
    request: Request
    both: Heard
    recipe: Heard | None


def listen(
    layout: Layout, host: Host, request: Request, knowledge: Knowledge, engine: str
) -> Said:
    """Return what is asked for; refuse what cannot be passed on.

    Args:
        layout: The checkpoint.
        host: The machine.
        request: What the user asked for.
        knowledge: What our data files say.
        engine: The engine's name, for messages.

    Raises:
        UsageError: A word of the user's cannot be passed on, or not for this layout.
        RecipeError: One of the recipe's; or two recipes are equally good.
        DoesNotFitError: A tensor-parallel size of the user's cuts a block scale.
        CheckpointError: Its config is too long for a command line.
    """
    check_flags(request.extra, knowledge.spellings, engine)
    check_values(request.extra, knowledge.flags, knowledge.spellings)
    check_variables(request.environment, knowledge.variables)
    told = take_recipe(knowledge, layout, host, request)
    alone = None
    if told.recipe is not None:
        with blamed(told.recipe):
            alone = _hear(layout, host, told.words, told.env, knowledge)
    words = (*told.words, *request.extra)
    both = _hear(layout, host, words, told.env | dict(request.environment), knowledge)
    both = replace(both, backends=replace(both.backends, by=_by(told)))
    if both.overlaid.extra != words:
        # The overlay's flag holds the keys that both gave.
        told = told.without(OVERRIDES)
        request = replace(request, extra=read_nested(request.extra, OVERRIDES).others)
    return Said(told, with_context(request, told), both, alone)


def _by(told: Told) -> dict[str, tuple[str, str]]:
    """Return why each backend of the recipe's is asked for, and its source."""
    return {
        name: (told.args[flag].why, told.source(told.args[flag].source))
        for name, flag in _DECIDING
        if flag in told.args
    }


def _hear(
    layout: Layout,
    host: Host,
    words: tuple[str, ...],
    environment: Mapping[str, str],
    knowledge: Knowledge,
) -> Heard:
    spellings = knowledge.spellings
    asked = asked_flags(words, spellings)
    wishes = settled(read_wishes(words, spellings), on_gpu=bool(host.gpus))
    backends = read_asked_backends(words, spellings, environment, asked)
    check_refused(layout, backends, knowledge.rules)
    overlaid = lay_over(layout, words, wishes.quantization)
    check_wishes(layout, wishes)
    return Heard(asked, wishes, backends, overlaid)
