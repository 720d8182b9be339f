"""Layout + Host + what was asked -> Plan. Pure; no files, no clock, no environment."""

from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan import cpu, cuda
from nvfp4_serve.plan.expect import expect
from nvfp4_serve.plan.experts import check_experts, expert_choices
from nvfp4_serve.plan.flags import (
    Choice,
    Spellings,
    asked_flags,
    check_flags,
    user_reasons,
)
from nvfp4_serve.plan.loading import adapter_reasons, tracking_choices
from nvfp4_serve.plan.nested import read_nested
from nvfp4_serve.plan.overlay import OVERRIDES, Overlaid, lay_over
from nvfp4_serve.plan.recipes import (
    Told,
    blamed,
    take_recipe,
    with_context,
    with_findings,
)
from nvfp4_serve.plan.scales import check_scales
from nvfp4_serve.plan.types import Budget, Mount, Plan, Reason, Request, Status
from nvfp4_serve.plan.widths import check_widths
from nvfp4_serve.plan.wishes import Wishes, read_wishes
from nvfp4_serve.recipe.knowledge import Knowledge


def make_plan(
    layout: Layout, host: Host, request: Request, knowledge: Knowledge
) -> Plan:
    """Return how to serve ``layout`` on ``host``.

    Args:
        layout: The checkpoint. That it is servable is the caller's to check.
        host: The machine.
        request: What the user asked for.
        knowledge: What our data files say; the words of ``request.extra`` are
            checked against the flags in it.

    Raises:
        DoesNotFitError: With the arithmetic.
        UsageError: A flag of the user's cannot be passed on, or not for this layout.
        CheckpointError: Its config cannot be put right on a command line, or a GPU
            would scale its weights wrongly.
    """
    engine = cuda.ENGINE if host.gpus else cpu.ENGINE
    said = _listen(layout, host, request, knowledge, engine)
    told, request = said.told, said.request
    check_scales(layout, on_gpu=bool(host.gpus))
    with with_findings(told):
        sized = _size(layout, told.host, request, said.wishes, said.asked)
    choices = (*_decide(layout, said, sized), *said.overlaid.choices)
    reasons = (
        *adapter_reasons(layout, said.wishes.load_format),
        *(choice.reason for choice in choices),
        *told.reasons,
        *user_reasons(request.extra),
    )
    plan = _plan(layout, request, engine, sized, reasons)
    decided = [word for choice in choices if choice.is_flag for word in choice.words]
    env = {c.name: c.value or "" for c in choices if not c.is_flag} | told.env
    return replace(
        plan,
        recipe_id=told.id,
        status=told.status,
        argv=(layout.folder or layout.model, *decided, *told.words, *request.extra),
        env=tuple(sorted(env.items())),
        expect=told.added_to(plan.expect),
        ready=told.ready,
        findings=told.findings,
        notes=told.notes,
    )


class _Said(NamedTuple):
    """What the recipe and the user say, together.

    Attributes:
        told: The recipe's part, without what the user or the overlay replaced.
        request: The user's part, with the recipe's context where the user gave none.
        asked: The flags of both.
        wishes: What both ask of memory and GPUs.
        overlaid: The config that the tensors ask for, with the keys of both.
    """

    told: Told
    request: Request
    asked: frozenset[str]
    wishes: Wishes
    overlaid: Overlaid


def _listen(
    layout: Layout, host: Host, request: Request, knowledge: Knowledge, engine: str
) -> _Said:
    """Return what is asked for; refuse what cannot be passed on."""
    spellings = knowledge.spellings
    check_flags(request.extra, spellings, engine)
    told = take_recipe(knowledge.recipes, layout, host, request, spellings)
    if told.recipe is not None:
        with blamed(told.recipe):
            _check_words(layout, told.words, spellings)
    words = (*told.words, *request.extra)
    wishes, overlaid = _check_words(layout, words, spellings)
    if overlaid.extra != words:
        # The overlay's flag holds the keys that both gave.
        told = told.without(OVERRIDES)
        request = replace(request, extra=read_nested(request.extra, OVERRIDES).others)
    asked = asked_flags(words, spellings)
    return _Said(told, with_context(request, told), asked, wishes, overlaid)


def _check_words(
    layout: Layout, words: tuple[str, ...], spellings: Spellings
) -> tuple[Wishes, Overlaid]:
    wishes = read_wishes(words, spellings)
    check_experts(layout, words, spellings)
    overlaid = lay_over(layout, words, wishes.quantization)
    check_widths(layout, wishes)
    return wishes, overlaid


def _decide(layout: Layout, said: _Said, sized: "_Sized") -> tuple[Choice, ...]:
    """Return what the rules say where neither the recipe nor the user does."""
    taken = said.asked | said.told.env.keys()
    every = (
        *_common(layout, said.request, sized.longest, said.told),
        *sized.choices,
        *expert_choices(layout, sized.gpus, said.asked),
        *tracking_choices(layout, said.wishes.load_format),
    )
    return tuple(choice for choice in every if choice.name not in taken)


class _Sized(NamedTuple):
    """What the machine decides."""

    gpus: tuple[Gpu, ...]
    budget: Budget
    longest: int | None
    choices: tuple[Choice, ...]


def _plan(
    layout: Layout,
    request: Request,
    engine: str,
    sized: _Sized,
    reasons: tuple[Reason, ...],
) -> Plan:
    """Return the plan but for its command line and its environment."""
    return Plan(
        recipe_id=None,
        status=Status.INFERRED,
        engine=engine,
        image=None,
        served_model_name=request.served_model_name or _default_name(layout),
        argv=(),
        env=(),
        gpus=tuple(gpu.uuid for gpu in sized.gpus),
        mounts=_mounts(layout),
        bind=_address(request.host, request.port),
        shm_bytes=0,
        budget=sized.budget,
        expect=expect(layout, on_gpu=bool(sized.gpus)),
        because=reasons,
    )


def _size(
    layout: Layout,
    host: Host,
    request: Request,
    wishes: Wishes,
    asked: frozenset[str],
) -> _Sized:
    if host.gpus:
        fit = cuda.size_cuda(layout, host, request, wishes)
        return _Sized(fit.gpus, fit.budget, fit.longest, cuda.cuda_choices(fit))
    budget, longest = cpu.size_cpu(layout, host, request, wishes)
    return _Sized((), budget, longest, cpu.cpu_choices(host, budget, asked))


def _mounts(layout: Layout) -> tuple[Mount, ...]:
    if layout.folder is None:
        return ()
    return (Mount(layout.folder, layout.folder, read_only=True),)


def _common(
    layout: Layout, request: Request, longest: int | None, told: Told
) -> tuple[Choice, ...]:
    name = request.served_model_name or _default_name(layout)
    choices = [
        Choice("--host", request.host, *_why_host(request.host)),
        Choice("--port", str(request.port), "Where requests go to.", "--port"),
        Choice(
            "--served-model-name",
            name,
            "The name that requests give as `model`.",
            "--served-model-name" if request.served_model_name else "the model's name",
        ),
    ]
    if longest is not None:
        choices.append(_context(layout, request, longest, told))
    if layout.revision is not None:
        choices.append(
            Choice(
                "--revision",
                layout.revision,
                "The commit whose headers were read; the branch may move on.",
                "the Hub",
            )
        )
    return (*choices, *_environment(layout))


def _context(layout: Layout, request: Request, longest: int, told: Told) -> Choice:
    if told.context is not None:
        why, source = told.context.why, told.source(told.context.source)
    elif request.max_model_len is not None:
        why, source = "You asked for it.", "--max-model-len"
    elif longest == layout.max_position_embeddings:
        why = "All that the model was made for; its KV cache fits."
        source = "config.json, max_position_embeddings"
    else:
        why = (
            f"The model was made for {layout.max_position_embeddings} tokens; the KV "
            "cache of this plan holds this many."
        )
        source = "the budget of this plan"
    return Choice("--max-model-len", str(longest), why, source)


def _environment(layout: Layout) -> tuple[Choice, ...]:
    choices = [
        Choice(
            "VLLM_NO_USAGE_STATS",
            "1",
            "Nothing leaves this machine unasked.",
            "vLLM 0.32.0, usage/usage_lib.py",
        )
    ]
    if layout.folder is not None:
        choices.append(
            Choice(
                "HF_HUB_OFFLINE",
                "1",
                "The checkpoint is a folder; nothing has to be asked of the Hub.",
                "huggingface_hub, environment variables",
            )
        )
    return tuple(choices)


def _why_host(host: str) -> tuple[str, str]:
    if host in {"127.0.0.1", "::1", "localhost"}:
        return "Only this machine may connect.", "the launcher's default"
    return "You asked for it; others may connect.", "--host"


def _default_name(layout: Layout) -> str:
    """Return the folder's name, or the Hub id, whether it is in the cache or not."""
    if layout.folder is None or layout.revision is not None:
        return layout.model
    return PurePath(layout.folder).name


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
