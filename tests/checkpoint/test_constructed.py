"""The constructed facts of ``tests/data/checkpoints``, and what is published."""

import json
import re
from pathlib import Path

import pytest

from checkpoint.test_real_exports import HEADERS
from data.checkpoints.make_models import CHECKPOINTS
from nvfp4_serve.checkpoint import read_layout
from nvfp4_serve.checkpoint.facts import read_facts
from nvfp4_serve.checkpoint.facts_text import facts_text

FACTS = Path(__file__).parents[1] / "data" / "checkpoints"

#: Parameters of the language model without draft layers, in 10^9, as the models are
#: called or their authors say.
PARAMETERS = {
    "deepseek-v3.1-nvfp4": 671,
    "deepseek-v4-pro-nvfp4-fp8-mtp": 1599,
    "gemma-4-26b-a4b-nvfp4": 25,
    "llama-3.1-8b-instruct-nvfp4": 8,
    "llama-3.3-70b-instruct-nvfp4": 71,
    "minimax-m2-nvfp4": 229,
    "nemotron-3-super-120b-a12b-nvfp4": 121,
    "qwen3-30b-a3b-nvfp4-redhat": 31,
    "qwen3-235b-a22b-nvfp4": 235,
    "qwen3.6-35b-a3b-nvfp4": 35,
}
#: A real export of the same family, and the modules that it does not have.
TWINS = {
    "deepseek-v3.1-nvfp4": ("modelopt-0.47.0-deepseek-v3", set()),
    "gemma-4-26b-a4b-nvfp4": ("modelopt-0.47.0-gemma-4", set()),
    "minimax-m2-nvfp4": ("modelopt-0.47.0-minimax-m2", set()),
    "nemotron-3-super-120b-a12b-nvfp4": (
        "modelopt-0.47.0-nemotron-h",
        {
            "backbone.embeddings",
            "backbone.layers.#.mixer.fc1_latent_proj",
            "backbone.layers.#.mixer.fc2_latent_proj",
        },
    ),
    "qwen3-30b-a3b-nvfp4-redhat": ("llm-compressor-0.14.0.1-nvfp4", set()),
    "qwen3-235b-a22b-nvfp4": ("modelopt-0.47.0-nvfp4", set()),
    "qwen3.6-35b-a3b-nvfp4": ("modelopt-0.47.0-qwen3.5-moe", set()),
}


def unnumbered(names: list[str]) -> set[str]:
    return {re.sub(r"(?<=\.)(\d+|\*)(?=\.|$)", "#", name) for name in names}


def test_every_constructed_checkpoint_is_written_and_every_file_constructed() -> None:
    assert {path.stem for path in FACTS.glob("*.json")} == CHECKPOINTS.keys()
    assert PARAMETERS.keys() == CHECKPOINTS.keys()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_file_is_what_the_script_makes(name: str) -> None:
    written = (FACTS / f"{name}.json").read_text()

    assert written == facts_text(CHECKPOINTS[name]()) + "\n"


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_it_has_the_parameters_of_its_name_and_may_be_served(name: str) -> None:
    layout = read_layout(read_facts(FACTS / f"{name}.json"))

    assert round(layout.parameters / 1e9) == PARAMETERS[name]
    assert layout.servable, layout.findings
    assert layout.schemes["embeddings"] == "BF16"


@pytest.mark.parametrize("name", TWINS)
def test_its_modules_are_called_as_the_producer_calls_them(name: str) -> None:
    twin, others = TWINS[name]
    header = json.loads((HEADERS / twin / "model.header.json").read_bytes())
    header.pop("__metadata__", None)
    produced = unnumbered([tensor.rpartition(".")[0] for tensor in header])

    groups = read_facts(FACTS / f"{name}.json").groups

    assert unnumbered([group.name for group in groups]) - produced == others
