"""The flags of ``vllm serve``, read from vLLM's own parser. No model, no server."""

from __future__ import annotations

import argparse
from typing import Any

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.version import __version__


def read_flags() -> dict[str, Any]:
    """Return every flag of this vLLM's ``serve``, sorted by name.

    ``default`` is there only where it is a plain value that does not depend on the
    machine; ``takes_value`` is ``"no"``, ``"one"``, ``"optional"`` or ``"many"``.
    """
    parser = make_arg_parser(FlexibleArgumentParser())
    # argparse has no public way to list what a parser knows.
    known = parser._actions  # noqa: SLF001
    actions = [action for action in known if action.option_strings]
    flags = sorted((_flag(action) for action in actions), key=lambda flag: flag["name"])
    return {"vllm": __version__.partition("+")[0], "flags": flags}


def _flag(action: argparse.Action) -> dict[str, Any]:
    longest = max(action.option_strings, key=lambda text: text.startswith("--"))
    flag: dict[str, Any] = {
        "name": longest,
        "aliases": sorted(set(action.option_strings) - {longest}),
        "takes_value": _takes_value(action),
    }
    if action.choices is not None:
        flag["choices"] = sorted(str(choice) for choice in action.choices)
    if action.default is None or isinstance(action.default, bool | int | float | str):
        flag["default"] = action.default
    return flag


def _takes_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "no"
    if action.nargs is None:
        return "one"
    return "optional" if action.nargs == "?" else "many"
