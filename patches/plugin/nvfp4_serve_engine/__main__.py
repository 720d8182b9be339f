"""``python -m nvfp4_serve_engine``: vLLM's server, and what its flags are."""

from __future__ import annotations

import json
import sys

from nvfp4_serve_engine import parent_death

_USAGE = """usage: python -m nvfp4_serve_engine serve MODEL [FLAG...]
       python -m nvfp4_serve_engine flags

serve  does what `vllm serve MODEL [FLAG...]` does
flags  prints the flags of `vllm serve` as JSON"""


def main(arguments: list[str]) -> int:
    """Run one of the two commands; return the exit code."""
    if arguments[:1] == ["serve"]:
        return _serve(arguments)
    if arguments == ["flags"]:
        from nvfp4_serve_engine.flags import read_flags

        print(json.dumps(read_flags(), indent=1))
        return 0
    print(_USAGE, file=sys.stderr)
    return 2


def _serve(arguments: list[str]) -> int:
    # Before anything heavy is imported: vLLM's imports alone take ten seconds.
    parent_death.follow_starter()
    from vllm.entrypoints.cli.main import main as vllm

    sys.argv = ["vllm", *arguments]
    vllm()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
