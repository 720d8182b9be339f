"""Give every recipe's flags to the engine's own parser. Its Python runs this.

Reads, from stdin, a JSON object of recipe id to words; prints one of id to what is
wrong. The parser makes most objects into vLLM's own classes, which refuse a key that
they do not know; the keys of those that it leaves alone are looked up here.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any


def main() -> None:
    """Read, judge, print."""
    data, sys.stdout = sys.stdout, sys.stderr
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = make_arg_parser(FlexibleArgumentParser(exit_on_error=False))
    faults = {
        name: found
        for name, words in json.load(sys.stdin).items()
        if (found := list(_faults(parser, words)))
    }
    json.dump(faults, data)


def _faults(parser: Any, words: list[str]) -> Iterator[str]:
    try:
        options = parser.parse_args(["model", *words])
    except (argparse.ArgumentError, SystemExit, ValueError) as error:
        yield f"the parser: {error}"
        return
    for name, kind in _classes().items():
        value = getattr(options, name)
        if isinstance(value, dict):
            yield from _unknown(name, kind, value)


def _classes() -> dict[str, Any]:
    from vllm.config import SpeculativeConfig
    from vllm.config.diffusion import DiffusionConfig

    return {
        "diffusion_config": DiffusionConfig,
        "speculative_config": SpeculativeConfig,
    }


def _unknown(name: str, kind: Any, value: dict[str, Any]) -> Iterator[str]:
    known = {field.name for field in dataclasses.fields(kind)}
    yield from (f"{name} has no {key}" for key in value if key not in known)


if __name__ == "__main__":
    main()
