"""What the user's own flags say of memory and GPUs. Pure."""

import re
from dataclasses import dataclass, replace
from typing import Final

from nvfp4_serve.errors import UsageError
from nvfp4_serve.plan.flags import Spellings, flag_name, flag_values
from nvfp4_serve.plan.nested import nested_text, read_nested

_SPECULATIVE: Final = "--speculative-config"
_MULTIPLES: Final = {
    letter: base**power
    for base, letters in ((1000, "kmgt"), (1024, "KMGT"))
    for power, letter in enumerate(letters, 1)
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """Flags after ``--`` that change where the memory goes; None: not given.

    Attributes:
        tensor_parallel: ``--tensor-parallel-size``.
        pipeline_parallel: ``--pipeline-parallel-size``.
        data_parallel: ``--data-parallel-size``.
        utilization: ``--gpu-memory-utilization``, a fraction.
        kv_cache: ``--kv-cache-memory-bytes``, bytes.
        kv_dtype: ``--kv-cache-dtype``.
        load_format: ``--load-format``.
        quantization: ``--quantization``.
        expert_parallel: ``--enable-expert-parallel``, or its ``--no-`` form.
        block: ``--block-size``.
        seqs: ``--max-num-seqs``.
        batched: ``--max-num-batched-tokens``.
        moe_backend: ``--moe-backend``.
        eager: ``--enforce-eager``.
        keeps_prefixes: ``--enable-prefix-caching``; None: vLLM's default, on.
        drafts: ``--speculative-config`` asks for the model's own draft.
        speculated: Its ``num_speculative_tokens``.
    """

    tensor_parallel: int | None = None
    pipeline_parallel: int | None = None
    data_parallel: int | None = None
    utilization: float | None = None
    kv_cache: int | None = None
    kv_dtype: str | None = None
    load_format: str | None = None
    quantization: str | None = None
    expert_parallel: bool | None = None
    block: int | None = None
    seqs: int | None = None
    batched: int | None = None
    moe_backend: str | None = None
    eager: bool = False
    keeps_prefixes: bool | None = None
    drafts: bool = False
    speculated: int = 0


def settled(wishes: Wishes, *, on_gpu: bool) -> Wishes:
    """Leave experts cut on a CPU, where nobody asked for more: it has no rule."""
    if on_gpu or wishes.expert_parallel is not None:
        return wishes
    return replace(wishes, expert_parallel=False)


def read_wishes(words: tuple[str, ...], spellings: Spellings) -> Wishes:
    """Return what ``words`` ask for.

    Raises:
        UsageError: A value is not one that the flag takes.
    """
    said = flag_values(words, spellings)

    def count(name: str) -> int | None:
        return _count(name, said[name]) if name in said else None

    if said.get("--load-format") == "dummy":
        raise _wrong("--load-format", "dummy", "one that loads the weights")
    utilization = said.get("--gpu-memory-utilization")
    cache = said.get("--kv-cache-memory-bytes")
    return Wishes(
        tensor_parallel=count("--tensor-parallel-size"),
        pipeline_parallel=count("--pipeline-parallel-size"),
        data_parallel=count("--data-parallel-size"),
        utilization=None if utilization is None else _fraction(utilization),
        kv_cache=None if cache is None else _bytes(cache),
        kv_dtype=said.get("--kv-cache-dtype"),
        load_format=said.get("--load-format"),
        quantization=said.get("--quantization"),
        expert_parallel=_is_on("--enable-expert-parallel", words, spellings),
        block=count("--block-size"),
        seqs=count("--max-num-seqs"),
        batched=count("--max-num-batched-tokens"),
        moe_backend=_backend(words, said),
        eager=_is_on("--enforce-eager", words, spellings) or False,
        keeps_prefixes=_is_on("--enable-prefix-caching", words, spellings),
        drafts=_drafts(words),
        speculated=_speculated(words),
    )


def _is_on(switch: str, words: tuple[str, ...], spellings: Spellings) -> bool | None:
    """Return what the last of ``--x`` and ``--no-x`` says; None: neither is there."""
    names = [flag_name(word) for word in words if word.startswith("-")]
    said = [name for name in names if spellings.get(name) == switch]
    return not said[-1].startswith("--no-") if said else None


def _backend(words: tuple[str, ...], said: dict[str, str]) -> str | None:
    asked = said.get("--moe-backend") or nested_text(
        words, "--kernel-config", "moe_backend"
    )
    return asked.lower().replace("-", "_") if asked else None


def _drafts(words: tuple[str, ...]) -> bool:
    """Return whether the model's own layers of multi-token prediction are asked for.

    vLLM 0.32.0, config/speculative.py: the method is ``mtp``, or that of a model
    (``deepseek_mtp``); with a ``model`` of its own, the draft is another checkpoint.
    """
    method = nested_text(words, _SPECULATIVE, "method")
    return method is not None and "mtp" in method


def _speculated(words: tuple[str, ...]) -> int:
    given = read_nested(words, _SPECULATIVE)
    value = (given.whole or {}).get("num_speculative_tokens", 0)
    value = dict(given.keys).get(("num_speculative_tokens",), value)
    return int(str(value)) if str(value).isdigit() else 0


def _count(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise _wrong(name, text, "a whole number from 1 on")
    return int(text)


def _fraction(text: str) -> float:
    name = "--gpu-memory-utilization"
    try:
        value = float(text)
    except ValueError as error:
        raise _wrong(name, text, "a fraction") from error
    if not 0 < value <= 1:
        raise _wrong(name, text, "above 0 and at most 1")
    return value


def _bytes(text: str) -> int:
    """Return bytes as vLLM reads them: ``1g`` is 10^9, ``1G`` is 2^30.

    Source:
        vLLM 0.32.0, ``utils/argparse_utils.py``, ``human_readable_int``.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgGtT]?)", text.strip())
    if not found or (found[2] not in "kmgt" and "." in found[1]):
        raise _wrong("--kv-cache-memory-bytes", text, "bytes, as 4294967296 or 4G")
    return int(float(found[1]) * _MULTIPLES.get(found[2], 1))


def _wrong(name: str, text: str, wanted: str) -> UsageError:
    return UsageError(
        f"`{name}` is {text!r}; it must be {wanted}.", fix="Correct it after `--`."
    )
