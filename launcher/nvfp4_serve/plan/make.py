"""Layout + Host + what was asked -> Plan. Pure; no files, no clock, no environment."""

from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan import cpu, cuda
from nvfp4_serve.plan.asked_backends import check_refused
from nvfp4_serve.plan.backend_words import AskedBackends, read_asked_backends
from nvfp4_serve.plan.expect import expect
from nvfp4_serve.plan.fit import Asked
from nvfp4_serve.plan.flags import (
    Choice,
    asked_flags,
    check_flags,
    user_reasons,
)
from nvfp4_serve.plan.kernels import Kernels, decide_kernels, target_of
from nvfp4_serve.plan.loading import adapter_reasons, tracking_choices
from nvfp4_serve.plan.overlay import lay_over
from nvfp4_serve.plan.parallel import check_wishes
from nvfp4_serve.plan.scales import check_scales
from nvfp4_serve.plan.surroundings import check_variables
from nvfp4_serve.plan.types import Budget, Mount, Plan, Reason, Request, Status
from nvfp4_serve.plan.weights import Split
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
    spellings = knowledge.spellings
    engine = cuda.ENGINE if host.gpus else cpu.ENGINE
    check_flags(request.extra, spellings, engine)
    asked = asked_flags(request.extra, spellings)
    wishes = _settled(read_wishes(request.extra, spellings), host)
    adapted = adapter_reasons(layout, wishes.load_format)
    check_variables(request.environment, knowledge.variables)
    backends = read_asked_backends(
        request.extra, spellings, dict(request.environment), asked
    )
    check_refused(layout, backends, knowledge.rules)
    overlaid = lay_over(layout, request.extra, wishes.quantization)
    check_wishes(layout, wishes)
    check_scales(layout, on_gpu=bool(host.gpus))
    sought = Asked(layout, host, wishes, request.max_model_len, knowledge.rules)
    sized = _size(sought, request, asked)
    kernels = _kernels(layout, sized, backends, knowledge)
    every = (
        *_common(layout, request, sized.longest),
        *sized.choices,
        *kernels.choices,
        *tracking_choices(layout, wishes.load_format),
    )
    choices = [choice for choice in every if choice.name not in asked]
    choices += overlaid.choices
    reasons = (
        *adapted,
        *(choice.reason for choice in choices),
        *kernels.reasons,
        *user_reasons(overlaid.extra),
    )
    plan = _plan(layout, request, engine, sized, reasons)
    words = [word for choice in choices if choice.is_flag for word in choice.words]
    return replace(
        plan,
        expect=expect(layout, on_gpu=bool(sized.gpus), kernels=kernels.expected),
        kernels=kernels.compared,
        argv=(layout.folder or layout.model, *words, *overlaid.extra),
        env=tuple(sorted((c.name, c.value or "") for c in choices if not c.is_flag)),
    )


class _Sized(NamedTuple):
    """What the machine decides."""

    gpus: tuple[Gpu, ...]
    split: Split
    budget: Budget
    budgets: tuple[Budget, ...]
    longest: int | None
    tokens: int | None
    choices: tuple[Choice, ...]


def _kernels(
    layout: Layout,
    sized: _Sized,
    backends: AskedBackends,
    knowledge: Knowledge,
) -> Kernels:
    """Return the kernels; a CPU has its own, and nothing to choose."""
    if not sized.gpus:
        return Kernels()
    target = target_of(sized.gpus, sized.split)
    return decide_kernels(layout, target, backends, knowledge.rules, knowledge.auto)


def _settled(wishes: Wishes, host: Host) -> Wishes:
    """Leave experts cut on a CPU, where nobody asked for more: it has no rule."""
    if host.gpus or wishes.expert_parallel is not None:
        return wishes
    return replace(wishes, expert_parallel=False)


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
        expect=expect(layout, on_gpu=bool(sized.gpus), kernels={}),
        because=reasons,
        budgets=sized.budgets,
        kv_cache_tokens=sized.tokens,
    )


def _size(sought: Asked, request: Request, asked: frozenset[str]) -> _Sized:
    if sought.host.gpus:
        chosen = cuda.size_cuda(sought)
        return _Sized(
            chosen.gpus,
            chosen.split,
            chosen.budget,
            chosen.budgets,
            # Where the bytes of a token are not known, a context is taken on trust.
            chosen.longest or request.max_model_len,
            chosen.tokens,
            cuda.cuda_choices(sought, chosen),
        )
    fit = cpu.size_cpu(sought.layout, sought.host, request, sought.wishes)
    choices = cpu.cpu_choices(sought.host, fit, asked)
    return _Sized(
        (), Split(), fit.budget, (fit.budget,), fit.longest, fit.tokens, choices
    )


def _mounts(layout: Layout) -> tuple[Mount, ...]:
    if layout.folder is None:
        return ()
    return (Mount(layout.folder, layout.folder, read_only=True),)


def _common(
    layout: Layout, request: Request, longest: int | None
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
        choices.append(_context(layout, request, longest))
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


def _context(layout: Layout, request: Request, longest: int) -> Choice:
    if request.max_model_len is not None:
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
