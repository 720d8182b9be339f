"""The parser of the pinned vLLM, and what it makes of a recipe that was imported."""

import json
import subprocess
from typing import Any

import pytest

from engines import engine_python
from nvfp4_serve.recipe.foreign.document import recipe_data
from nvfp4_serve.recipe.foreign.words import read_script
from nvfp4_serve.recipe.types import Arg
from recipe.foreign.samples import read

pytestmark = pytest.mark.engine

PARSE = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
print(json.dumps([
    {name: repr(value) for name, value in vars(parser.parse_args(words)).items()}
    for words in json.load(sys.stdin)
]))
"""
COMMANDS = [
    "vllm serve a/T-NVFP4 --max_model_len=4096 -tp 2 -dp=2",
    "vllm serve a/T-NVFP4 --attention-config.backend FLASHINFER -cc.mode 3 -O3",
    "vllm serve a/T-NVFP4 -cc '{\"mode\": 0}' --compilation-config.cudagraph_mode NONE",
    "vllm serve a/T-NVFP4 -cc.mode 3 --compilation_config.cudagraph_mode NONE",
    (
        "vllm serve a/T-NVFP4 -cc.cudagraph_capture_sizes [1] "
        "-cc.cudagraph_capture_sizes [2,2048] -cc.max_cudagraph_capture_size 2K"
    ),
    (
        "vllm serve a/T-NVFP4 --speculative-config.num_speculative_tokens 2 "
        "--speculative_config.method mtp"
    ),
    "vllm serve a/T-NVFP4 --no-enable-prefix-caching --enable-expert-parallel -O=1",
    "vllm serve a/T-NVFP4 --cudagraph-capture-sizes 1 2 4 --seed 7 --seed 8",
    'vllm serve a/T-NVFP4 --compilation-config \'{"mode":3,"custom_ops":["all"]}\'',
    "vllm serve a/T-NVFP4 --gpu-memory-utilization 0.80 --kv-cache-memory-bytes 8G",
    "vllm serve a/T-NVFP4 --default-chat-template-kwargs.thinking=true",
]


def parsed(commands: list[list[str]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [engine_python(), "-c", PARSE],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_the_recipe_means_to_the_parser_what_the_command_meant() -> None:
    theirs, ours = [], []
    for command in COMMANDS:
        imported = read(command)
        (script,) = read_script(command).commands
        theirs.append([word.text for word in script.words[2:]])
        rows = recipe_data(imported)["variants"][0]["args"].items()
        ours.append(
            [
                imported.model,
                *(
                    w
                    for name, row in rows
                    for w in Arg(row["value"], "", "").words(name)
                ),
            ]
        )

    answers = parsed([*theirs, *ours])

    half = len(COMMANDS)
    for command, first, second in zip(
        COMMANDS, answers[:half], answers[half:], strict=True
    ):
        assert first == second, command
