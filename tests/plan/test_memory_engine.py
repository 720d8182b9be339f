"""What a plan says of memory, beside what the real engine allots.

The engine gets the configs of real exports and random weights: neither the layout of a
KV cache nor the size of a parameter depends on what a weight is.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from engines import engine_python
from headers import export_config, write_export
from hosts import cpu_host
from layouts import knowledge
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.model import read_model
from nvfp4_serve.checkpoint.types import Layout
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.plan.kv import Paging, lay_out
from nvfp4_serve.plan.weights import Split, stage_layers, stage_weights

pytestmark = pytest.mark.engine

_WORKER: Final = Path(__file__).parent / "real_engine_sizes.py"
#: Tokens of one step, as `vllm serve` takes them on a CPU.
_BATCHED: Final = 2048


@dataclass(frozen=True, slots=True)
class Case:
    """A model: the config of a real export, and what is changed in it."""

    export: str
    changes: Mapping[str, object]
    drops: tuple[str, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        config = export_config(self.export) | dict(self.changes)
        return {key: value for key, value in config.items() if key not in self.drops}


_MOE = ("num_local_experts", "num_experts_per_tok", "moe_intermediate_size")
_QUANT = "quantization_config"
_CASES: Final = {
    "dense": Case(
        "modelopt-0.47.0-nvfp4",
        {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"},
        drops=_MOE,
    ),
    "moe": Case("modelopt-0.47.0-minimax-m2", {}),
    "moe, FP8 cache": Case("modelopt-0.47.0-fp8-kv", {}),
    "moe, long": Case("modelopt-0.47.0-nvfp4", {"max_position_embeddings": 5000}),
    "latent": Case("modelopt-0.47.0-deepseek-v3", {}),
    "latent, long": Case(
        "modelopt-0.47.0-deepseek-v3", {"max_position_embeddings": 10_000}
    ),
    "windows": Case("modelopt-0.47.0-gpt-oss", {}),
    "windows, long, uneven": Case(
        "modelopt-0.47.0-gemma-4",
        {
            "num_hidden_layers": 7,
            "layer_types": ["sliding_attention"]
            + ["sliding_attention", "full_attention"] * 3,
            "max_position_embeddings": 16_384,
        },
    ),
    "windows of another width": Case("modelopt-0.47.0-gemma-4", {}),
    "windows, shared layers": Case(
        "modelopt-0.47.0-gemma-4",
        {
            "num_hidden_layers": 8,
            "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 2,
            "num_kv_shared_layers": 4,
            "max_position_embeddings": 8192,
        },
    ),
    "hybrid, Mamba 2": Case(
        "modelopt-0.47.0-nemotron-h",
        # Its experts are not gated, which the CPU engine does not compute.
        {
            "layers_block_type": ["mamba", "mlp", "attention", "mlp", "mamba", "mlp"],
            "num_hidden_layers": 6,
            "max_position_embeddings": 4096,
        },
        drops=(_QUANT,),
    ),
    "hybrid, Gated DeltaNet": Case(
        "modelopt-0.47.0-qwen3.5-moe",
        # Of Qwen3-Next: the same layers, and no torchvision in its code.
        {
            "architectures": ["Qwen3NextForCausalLM"],
            "model_type": "qwen3_next",
            "num_hidden_layers": 4,
            "layer_types": ["linear_attention"] * 3 + ["full_attention"],
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "intermediate_size": 224,
            "max_position_embeddings": 2048,
        },
        drops=(_QUANT,),
    ),
}


#: Of the parameters: what the engine makes itself, and no export has.
_OWN: Final = re.compile(r"\.([qkv]|prob)_(scale|zero_point)$")
_SPLITS: Final = {
    "one GPU": Split(),
    "two GPUs": Split(tensor=2),
    "two GPUs, whole experts": Split(tensor=2, experts=True),
    "two stages": Split(pipeline=2),
}
#: All of the widths of these can be cut in two between blocks of 16.
_CUT: Final = (
    "modelopt-0.47.0-deepseek-v3",
    "modelopt-0.47.0-gemma-4",
    "modelopt-0.47.0-minimax-m2",
    "llm-compressor-0.14.0.1-nvfp4",
)


def ask(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the real engine says of each."""
    done = subprocess.run(
        [engine_python(), _WORKER, json.dumps(requests)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def written(name: str, folder: Path, config: Mapping[str, Any]) -> Layout:
    folder.mkdir()
    return read_layout(read_checkpoint(str(write_export(name, folder, config))))


def flag(made: Plan, name: str) -> int:
    return int(made.argv[made.argv.index(name) + 1])


@pytest.fixture(scope="module")
def counted(
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, tuple[Plan, dict[str, Any]]]:
    """The plan of each case, and what the engine says that was started as planned."""
    folder = tmp_path_factory.mktemp("models")
    plans, requests = {}, []
    for number, (name, case) in enumerate(_CASES.items()):
        home = folder / str(number)
        layout = written(case.export, home, case.config)
        plans[name] = made = make_plan(layout, cpu_host(), Request(), knowledge())
        options = {
            "kv_cache_memory_bytes": flag(made, "--kv-cache-memory-bytes"),
            "max_model_len": flag(made, "--max-model-len"),
        }
        if "latent" not in name:  # whose steps hold a whole context
            options["max_num_batched_tokens"] = _BATCHED
        requests.append({"model": str(home), "options": options})
    answers = ask(requests)
    return {
        name: (plans[name], answer) for name, answer in zip(plans, answers, strict=True)
    }


@pytest.mark.parametrize("name", _CASES)
def test_the_engine_counts_the_tokens_that_were_planned(
    name: str, counted: Mapping[str, tuple[Plan, dict[str, Any]]]
) -> None:
    made, said = counted[name]

    print(name, made.kv_cache_tokens, said)  # noqa: T201 - for `pytest -rP`
    assert said["tokens"] == pytest.approx(made.kv_cache_tokens, rel=0.02)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[tuple[str, str], tuple[int, int]]:
    """The bytes of one GPU as planned, and as the engine's own layers take them."""
    folder = tmp_path_factory.mktemp("cut")
    cells: dict[tuple[str, str], int] = {}
    requests = []
    for export in _CUT:
        layout = written(export, folder / export, export_config(export))
        for name, split in _SPLITS.items():
            stages = stage_layers(layout.widths.layers or 1, split.pipeline)
            held = stage_weights(layout.parts, split, stages[0], draft=False)
            cells[export, name] = held.total
            told = {
                "tensor": split.tensor,
                "pipeline": split.pipeline,
                "experts": split.experts,
                "stage": 0,
            }
            requests.append({"model": str(folder / export), "split": told})
    return {
        cell: (planned, _total(answer))
        for (cell, planned), answer in zip(cells.items(), ask(requests), strict=True)
    }


def _total(answer: dict[str, Any]) -> int:
    assert "bytes" in answer, answer
    sizes: dict[str, int] = answer["bytes"]
    return sum(size for name, size in sizes.items() if not _OWN.search(name))


@pytest.mark.parametrize("export", _CUT)
@pytest.mark.parametrize("split", [n for n in _SPLITS if n != "two stages"])
def test_the_engine_builds_the_bytes_that_were_planned(
    export: str, split: str, built: Mapping[tuple[str, str], tuple[int, int]]
) -> None:
    planned, real = built[export, split]

    print(export, split, planned, real)  # noqa: T201 - for `pytest -rP`
    # MiniMax-M2's router is held in float32, twice what is stored.
    assert planned == pytest.approx(real, rel=0.02 if "minimax" in export else 1e-4)


@pytest.mark.parametrize("export", _CUT)
def test_a_stage_is_never_counted_too_small(
    export: str, built: Mapping[tuple[str, str], tuple[int, int]]
) -> None:
    # Embeddings and head are counted on every stage; some models build them there.
    planned, real = built[export, "two stages"]

    assert real <= planned * 1.0001


#: DeepSeek-V4-Pro's own ratios, with and without the layer of its draft; and others.
_RATIOS: Final = {
    "pro": [128, 128, *[4, 128] * 29, 4],
    "pro, drafting": [128, 128, *[4, 128] * 29, 4, 1],
    "as many of each": [4, 128] * 4,
    "few": [1, 4, 4, 4, 128],
    "windows most": [1] * 9 + [4, 4, 128],
}


def test_vllm_groups_the_caches_of_deepseek_v4_as_planned(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(_CASES["dense"].config))
    requests = [{"model": str(model), "packed": r} for r in _RATIOS.values()]

    answers = dict(zip(_RATIOS, ask(requests), strict=True))

    for name, ratios in _RATIOS.items():
        assert answers[name] == _planned_groups(ratios), name


def _planned_groups(ratios: list[int]) -> dict[str, Any]:
    config = {
        "num_hidden_layers": len(ratios),
        "compress_ratios": ratios,
        "head_dim": 512,
        "qk_rope_head_dim": 64,
        "index_head_dim": 128,
        "sliding_window": 128,
    }
    shape = read_model(config).kv
    assert shape is not None
    cache = lay_out(shape, Paging())
    assert cache is not None
    groups = sorted([len(group.layers), group.bytes] for group in cache.groups)
    return {"block": cache.block_bytes, "groups": groups}
