"""Flags that start and then go wrong, or let everybody in. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from nvfp4_serve.finding import Finding
from nvfp4_serve.recipe.foreign.arguments import Argument
from nvfp4_serve.recipe.foreign.changes import GONE_KEYS
from nvfp4_serve.recipe.foreign.types import Machine, error, info, warning


@dataclass(frozen=True, slots=True)
class About:
    """What the flags are held against.

    Attributes:
        machine: The machine that they are for.
        is_nvfp4: The checkpoint is in NVFP4.
        is_published: What is published decides who can reach the server.
    """

    machine: Machine
    is_nvfp4: bool
    is_published: bool


def public_bind(given: list[Argument], label: str) -> Iterator[Finding]:
    """Yield that everyone can reach the server.

    Source:
        vLLM 0.32.0, ``entrypoints/launchers/launcher.py``, ``args.host or ""``: without
        ``--host`` it binds every address.
    """
    names = {argument.name: argument for argument in given}
    host = names.get("--host")
    if "--api-key" in names:
        return
    fix = (
        "The recipe leaves the address out; whoever serves it for others gives "
        "`--host` and sets `VLLM_API_KEY`."
    )
    if host is None:
        yield info(
            "public-bind",
            f"{label}: without `--host`, vLLM answers on every address of the machine.",
            fix,
        )
    elif str(host.value) in {"0.0.0.0", "::"}:  # noqa: S104 - that is the finding
        yield warning(
            "public-bind",
            f"{label}:{host.line}: `{host.shown}` answers on every address of the "
            "machine, and no key is asked for.",
            fix,
        )


def dangers(given: list[Argument], about: About, label: str) -> Iterator[Finding]:
    """Yield what starts and then goes wrong."""
    for argument in given:
        at = f"{label}:{argument.line}"
        if isinstance(argument.value, dict):
            yield from _gone_keys(argument, at)
        if "deep_gemm_mega_moe" in _strings(argument.value):
            kind = error if about.is_nvfp4 else warning
            yield kind(
                "mega-moe-with-nvfp4",
                f"{at}: `{argument.name}` asks for `deep_gemm_mega_moe`, which reads "
                "NVFP4 experts as MXFP4: it fails, or answers wrongly.",
                "Give `--moe-backend flashinfer_trtllm` on 10.x, or leave it out "
                "(vLLM 0.32.0, fused_moe/oracle/nvfp4.py; vLLM issue 43454).",
            )
        if _asks_for_fp4_indexer(argument):
            yield _indexer(argument, about.machine, at)


def _gone_keys(argument: Argument, at: str) -> Iterator[Finding]:
    value = argument.value
    for (name, key), told in GONE_KEYS.items():
        if name == argument.name and isinstance(value, dict) and key in value:
            yield error(
                "key-not-taken",
                f"{at}: `{name}` has no key `{key}` any more: {told}.",
                "Correct it in the recipe; as it stands, the engine refuses it.",
            )


def _asks_for_fp4_indexer(argument: Argument) -> bool:
    value = argument.value
    if argument.name != "--attention-config" or not isinstance(value, dict):
        return False
    is_on = str(value.get("use_fp4_indexer_cache")).lower() in {"true", "1"}
    return is_on or str(value.get("indexer_kv_dtype")).lower() == "mxfp4"


def _indexer(argument: Argument, machine: Machine, at: str) -> Finding:
    capability = machine.compute_capability
    message = f"{at}: `{argument.name}` asks for an FP4 indexer cache, which only "
    if capability and capability.startswith("12."):
        return error(
            "fp4-indexer-cache",
            f"{message}compute capability 10.x has; sm_{capability.replace('.', '')} "
            "has no such kernel.",
            'Write {"indexer_kv_dtype": "fp8"}.',
        )
    told = "10.x has; the GPU is not said" if capability is None else "10.x has"
    kind = info if capability and capability.startswith("10.") else warning
    return kind(
        "fp4-indexer-cache",
        f"{message}compute capability {told}.",
        "On 12.x, write fp8; `--gpu` says which GPU it is for.",
    )


def _strings(value: object) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_strings(below) for below in value.values()), set())
    if isinstance(value, list):
        return set().union(*(_strings(below) for below in value), set())
    return {str(value)}
