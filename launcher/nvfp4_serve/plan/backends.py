"""Which kernels run what, by the rows of ``rules.yaml``. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.host.capability import capability_text
from nvfp4_serve.plan.flags import Choice
from nvfp4_serve.plan.matching import Situation, deciding, holds
from nvfp4_serve.plan.types import Reason
from nvfp4_serve.recipe.backend_rules import FIELDS, BackendRules, Row

NVFP4: Final = frozenset({"NVFP4", "W4A16_NVFP4"})
#: Classes of modules whose NVFP4 layers are no experts.
LINEAR: Final = ("attention", "mlp", "shared_experts")
#: Layers that tensor parallelism cuts along their input features, and the step that
#: the CUTLASS kernels were met with garbage off: vllm#48898.
_CUT: Final = (".o_proj", ".out_proj", ".down_proj", ".w2")
_EVEN: Final = 32
#: The flag of each field that has one.
FLAGS: Final = {
    "moe": "--moe-backend",
    "linear": "--linear-backend",
    "attention": "--attention-backend",
    "kv_cache_dtype": "--kv-cache-dtype",
    "block_size": "--block-size",
}
#: What `plan` calls the kernels that vLLM chooses by itself.
_KERNELS: Final = {"moe": "experts", "linear": "layers", "attention": "attention"}
#: Runs every NVFP4 scheme on every GPU; for a checkpoint whose parts disagree.
_FOR_ALL: Final = "marlin"


@dataclass(frozen=True, slots=True)
class Target:
    """The GPUs of a plan, as far as kernels ask.

    Attributes:
        compute_capability: Of all of them.
        tensor_parallel: How many share each layer.
        expert_parallel: Experts are spread over them, not cut.
        gpus: How many there are.
        unified: They share the machine's memory.
    """

    compute_capability: tuple[int, int]
    tensor_parallel: int
    expert_parallel: bool
    gpus: int
    unified: bool

    @property
    def capability(self) -> int:
        """The compute capability as vLLM counts it: 121 for 12.1."""
        major, minor = self.compute_capability
        return 10 * major + minor

    @property
    def capability_text(self) -> str:
        """The compute capability as people write it."""
        return capability_text(self.compute_capability)


@dataclass(frozen=True, slots=True)
class Backends:
    """The kernels of a plan. None: vLLM chooses by itself, and chooses well.

    Attributes:
        moe: ``--moe-backend``.
        linear: ``--linear-backend``.
        attention: ``--attention-backend``.
        kv_cache_dtype: ``--kv-cache-dtype``.
        block_size: ``--block-size``.
        draft_moe: ``moe_backend`` of ``--speculative-config``.
        choices: The flags and variables, with reasons.
        reasons: What is left to vLLM, and what it takes.
        expected: What vLLM then says it uses, by field; nothing where that is not
            certain.
        rows: The rows that decided, by field.
    """

    moe: str | None = None
    linear: str | None = None
    attention: str | None = None
    kv_cache_dtype: str | None = None
    block_size: int | None = None
    draft_moe: str | None = None
    choices: tuple[Choice, ...] = ()
    reasons: tuple[Reason, ...] = ()
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)


def choose_backends(layout: Layout, target: Target, rules: BackendRules) -> Backends:
    """Return the kernels for ``layout`` on ``target``.

    A checkpoint may have experts, or other layers, of two NVFP4 schemes. Where the rows
    for them disagree, one backend that runs both is chosen.
    """
    every = situations(layout, target)
    rows = {name: _rows(rules, every, name) for name in FIELDS}
    rows = {name: found for name, found in rows.items() if found}
    values = {name: _value(found, name) for name, found in rows.items()}
    chosen = {name: value for name, value in values.items() if value != "auto"}
    return Backends(
        moe=_text(chosen.get("moe")),
        linear=_text(chosen.get("linear")),
        attention=_text(chosen.get("attention")),
        kv_cache_dtype=_text(chosen.get("kv_cache_dtype")),
        block_size=_number(chosen.get("block_size")),
        draft_moe=_text(chosen.get("draft_moe")),
        choices=(*_flag_choices(rows, chosen), *_env_choices(rules, every)),
        reasons=tuple(_left_to_vllm(rows, chosen)),
        expected=_expected(rows, values),
        rows=rows,
    )


def situations(layout: Layout, target: Target) -> tuple[Situation, ...]:
    """Return the situations of a plan: one for each pair of NVFP4 schemes in it."""
    experts: tuple[str | None, ...]
    experts = tuple(sorted(schemes_of(layout, "routed_experts") & NVFP4)) or (None,)
    linear: tuple[str | None, ...]
    linear = tuple(sorted(schemes_of(layout, *LINEAR) & NVFP4)) or (None,)
    told = layout.experts
    return tuple(
        Situation(
            capability=target.compute_capability,
            experts=one,
            linear=other,
            draft=layout.draft.scheme if layout.draft else None,
            layout=layout.layout,
            activation=told.activation if told else None,
            attention=layout.attention_kind,
            kv_cache=layout.schemes.get("kv_cache", "none"),
            gated=told.gated if told else None,
            swiglu_limit=told.swiglu_limit is not None if told else None,
            expert_parallel=target.expert_parallel,
            vision="vision" in layout.schemes,
            unified=target.unified,
            uneven=_is_uneven(layout, target),
            many=target.tensor_parallel > 1,
        )
        for one in experts
        for other in linear
    )


def schemes_of(layout: Layout, *classes: str) -> frozenset[str]:
    """Return every scheme of these classes of modules."""
    return frozenset(
        scheme for name in classes for scheme in layout.schemes.get(name, "").split("+")
    ) - {""}


def _rows(
    rules: BackendRules, every: tuple[Situation, ...], name: str
) -> tuple[Row, ...]:
    """Return one deciding row for each situation, each row once."""
    found = [deciding(rules, situation, name)[:1] for situation in every]
    return tuple({row.id: row for rows in found for row in rows}.values())


def _value(rows: tuple[Row, ...], name: str) -> object:
    values = {row.says(name) for row in rows}
    return values.pop() if len(values) == 1 else _FOR_ALL


def _flag_choices(
    rows: Mapping[str, tuple[Row, ...]], chosen: Mapping[str, object]
) -> Iterator[Choice]:
    for name, value in chosen.items():
        why = " ".join(dict.fromkeys(row.why for row in rows[name]))
        source = "; ".join(dict.fromkeys(_source(row) for row in rows[name]))
        if name == "autotune":
            yield Choice("--no-enable-flashinfer-autotune", None, why, source)
        elif name in FLAGS:
            yield Choice(FLAGS[name], str(value), why, source)


def _env_choices(rules: BackendRules, every: tuple[Situation, ...]) -> Iterator[Choice]:
    """Yield the variables; rows add theirs, and the highest rank decides each name."""
    told: dict[str, tuple[int, Choice]] = {}
    for situation in every:
        for row in rules.rows:
            if not row.choose.env or not holds(row.when, situation):
                continue
            for name, value in row.choose.env.items():
                choice = Choice(name, value, row.why, _source(row))
                if row.when.rank > told.get(name, (-1, choice))[0]:
                    told[name] = (row.when.rank, choice)
    return (choice for _, choice in told.values())


def _left_to_vllm(
    rows: Mapping[str, tuple[Row, ...]], chosen: Mapping[str, object]
) -> Iterator[Reason]:
    for name, what in _KERNELS.items():
        for row in rows.get(name, ()):
            kernel = getattr(row.expect, name)
            if name not in chosen and kernel is not None:
                yield Reason(f"{what}: {kernel}", row.why, _source(row))


def _expected(
    rows: Mapping[str, tuple[Row, ...]], values: Mapping[str, object]
) -> dict[str, tuple[str, ...]]:
    """Return the names that the log must show, where each deciding row knows one."""
    expected = {}
    for name in _KERNELS:
        mine = rows.get(name, ())
        names = [getattr(row.expect, name) for row in mine]
        agree = len({row.says(name) for row in mine}) == 1
        if mine and agree and None not in names and name in values:
            expected[name] = tuple(dict.fromkeys(names))
    return expected


def _source(row: Row) -> str:
    """Return how a row is known; what vLLM's own code did not say is marked."""
    return row.source if row.proof == "run" else f"{row.source}; {row.proof}, not run"


def _is_uneven(layout: Layout, target: Target) -> bool:
    count = target.tensor_parallel
    return any(
        width % (_EVEN * (count if name.endswith(_CUT) else 1))
        for name, width in layout.input_widths.items()
        if ".experts." not in name
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
