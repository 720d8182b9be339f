"""Layout + Host + what was asked -> Plan. Pure; no files, no clock, no environment."""

from dataclasses import replace
from typing import Final, NamedTuple

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.types import Gpu, Host
from nvfp4_serve.plan import cpu, cuda
from nvfp4_serve.plan.download import download_bytes
from nvfp4_serve.plan.expect import expect
from nvfp4_serve.plan.fit import Asked
from nvfp4_serve.plan.flags import Choice, user_reasons
from nvfp4_serve.plan.kernels import Kernels, decide_kernels, target_of
from nvfp4_serve.plan.known_bad import hold_against
from nvfp4_serve.plan.listen import Said, listen
from nvfp4_serve.plan.loading import adapter_reasons, tracking_choices
from nvfp4_serve.plan.names import served_name
from nvfp4_serve.plan.nodes import several_nodes
from nvfp4_serve.plan.scales import check_scales
from nvfp4_serve.plan.surroundings import too_long, variable_reasons
from nvfp4_serve.plan.told import Told, blamed, with_findings
from nvfp4_serve.plan.types import Budget, Mount, Plan, Reason, Request, Status
from nvfp4_serve.plan.weights import Split
from nvfp4_serve.recipe.knowledge import Knowledge
from nvfp4_serve.units import GIB

#: A limit, not an allocation. NCCL and vLLM's shared-memory broadcast take hundreds of
#: MiB for each process of a tensor-parallel group; Docker's default is 64 MiB.
_SHM: Final = 16 * GIB


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
        UndecidedError: The rules know no GPU of the machine.
        UsageError: A flag of the user's cannot be passed on, or not for this layout.
        CheckpointError: Its config cannot be put right on a command line, or a GPU
            would scale its weights wrongly.
        KnownBadError: It is known not to work, and the user did not allow it.
    """
    engine = cuda.ENGINE if host.gpus else cpu.ENGINE
    said = listen(layout, host, request, knowledge, engine)
    told, request = said.told, said.request
    check_scales(layout, on_gpu=bool(host.gpus))
    sought = Asked(
        layout, told.host, said.both.wishes, request.max_model_len, knowledge.rules
    )
    with with_findings(told):
        sized = _size(sought, request, said.both.asked)
    kernels = _kernels(layout, sized, said, knowledge)
    choices = (*_decide(layout, said, sized, kernels), *said.both.overlaid.choices)
    reasons = (
        *adapter_reasons(layout, said.both.wishes.load_format),
        *(choice.reason for choice in choices),
        *kernels.reasons,
        *told.reasons,
        *variable_reasons(request.environment),
        *user_reasons(request.extra),
    )
    plan = _plan(layout, request, engine, sized, reasons)
    decided = [word for choice in choices if choice.is_flag for word in choice.words]
    env = {c.name: c.value or "" for c in choices if not c.is_flag}
    env |= told.env | dict(request.environment)
    plan = replace(
        plan,
        recipe_id=told.id,
        status=told.status,
        argv=(layout.folder or layout.model, *decided, *told.words, *request.extra),
        env=tuple(sorted(env.items())),
        expect=told.added_to(
            expect(layout, on_gpu=bool(sized.gpus), kernels=kernels.expected)
        ),
        kernels=kernels.compared,
        ready=told.ready,
        download=download_bytes(layout, host, request.downloaded),
        findings=(
            *told.findings,
            *too_long(layout, request, said.both.asked),
            *several_nodes(said.both.asked),
        ),
        notes=told.notes,
    )
    return hold_against(plan, layout, host, request, knowledge)


def _decide(
    layout: Layout, said: Said, sized: "_Sized", kernels: Kernels
) -> tuple[Choice, ...]:
    """Return what the rules say where neither the recipe nor the user does."""
    variables = said.told.env.keys() | dict(said.request.environment).keys()
    taken = said.both.asked | variables
    every = (
        *_common(layout, said.request, sized.longest, said.told),
        *sized.choices,
        *kernels.choices,
        *tracking_choices(layout, said.both.wishes.load_format),
    )
    return tuple(choice for choice in every if choice.name not in taken)


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
    layout: Layout, sized: _Sized, said: Said, knowledge: Knowledge
) -> Kernels:
    """Return the kernels; a CPU has its own, and nothing to choose."""
    if not sized.gpus:
        return Kernels()
    target = target_of(sized.gpus, sized.split)
    data = (knowledge.rules, knowledge.auto)
    if said.recipe is not None and said.told.recipe is not None:
        with blamed(said.told.recipe):
            decide_kernels(layout, target, said.recipe.backends, *data)
    return decide_kernels(layout, target, said.both.backends, *data)


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
        served_model_name=served_name(layout, request.served_model_name),
        argv=(),
        env=(),
        gpus=tuple(gpu.uuid for gpu in sized.gpus),
        mounts=_mounts(layout),
        bind=_address(request.host, request.port),
        shm_bytes=_SHM,
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
    layout: Layout, request: Request, longest: int | None, told: Told
) -> tuple[Choice, ...]:
    name = served_name(layout, request.served_model_name)
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


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
