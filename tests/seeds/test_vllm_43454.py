"""vllm#43454 and its artifact: DeepSeek-V4 with NVFP4 experts and an MXFP4 MTP.

A GPU is needed to run one: vLLM 0.32.0 has MXFP4 experts for CPUs with AMX alone
(``CPUExpertsMxfp4``), and its CPU model gives one format to all layers. What is held
here is the routing of layers to formats, by the class that vLLM uses on CUDA. The
tensors are constructed; their names, types and the config are those of the checkpoint
that the report names.
"""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from checkpoint.builders import write_checkpoint
from engines import engine_python, pristine_python
from nvfp4_serve.checkpoint import read_checkpoint, read_layout
from nvfp4_serve.checkpoint.types import Layout
from patches.probing import BugPresentError
from twins.launcher_options import options_of

_ROUTING = Path(__file__).parent / "deepseek_v4_routing.py"
_LAYERS = 2
#: As `rewrite_config` of its converter writes it: there is no `ignore`.
_WRITTEN: dict[str, object] = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "scale_fmt": "ue8m0",
    "weight_block_size": [128, 128],
    "moe_quant_algo": "NVFP4",
}


def _layout(folder: Path) -> Layout:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for layer in range(_LAYERS):
        tensors[f"layers.{layer}.attn.wq_a.weight"] = ("F8_E4M3", (256, 256))
        tensors[f"layers.{layer}.attn.wq_a.scale"] = ("F8_E8M0", (2, 2))
        for expert in range(12):
            for projection in ("w1", "w2", "w3"):
                name = f"layers.{layer}.ffn.experts.{expert}.{projection}"
                tensors[f"{name}.weight"] = ("U8", (64, 48))
                tensors[f"{name}.scale"] = ("F8_E4M3", (64, 6))
                tensors[f"{name}.weight_scale_2"] = ("F32", (1,))
                tensors[f"{name}.input_scale"] = ("F32", (1,))
    for expert in range(12):
        for projection in ("w1", "w2", "w3"):
            name = f"mtp.0.ffn.experts.{expert}.{projection}"
            tensors[f"{name}.weight"] = ("I8", (64, 48))
            tensors[f"{name}.scale"] = ("F8_E8M0", (64, 3))
    config = {
        "architectures": ["DeepseekV4ForCausalLM"],
        "model_type": "deepseek_v4",
        "num_hidden_layers": _LAYERS,
        "expert_dtype": "fp4",
    }
    write_checkpoint(folder, tensors, quantization=_WRITTEN, config=config)
    return read_layout(read_checkpoint(str(folder)))


def _routing(python: Path, quantization: Mapping[str, object]) -> list[bool]:
    words = [str(python), str(_ROUTING), json.dumps(quantization), str(_LAYERS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[bool] = json.loads(done.stdout.splitlines()[-1])
    return found


def _require_right(routing: list[bool]) -> None:
    if routing[-1]:
        raise BugPresentError("the MXFP4 experts of the MTP are taken for NVFP4")
    assert routing == [True, True, False]


@pytest.mark.engine
@pytest.mark.xfail(strict=True, raises=BugPresentError)
def test_published_vllm_takes_the_mtp_for_what_it_is() -> None:
    _require_right(_routing(pristine_python(), _WRITTEN))


@pytest.mark.engine
def test_with_the_config_of_the_launcher_vllm_takes_the_mtp_for_what_it_is(
    tmp_path: Path,
) -> None:
    overrides: Any = options_of(_layout(tmp_path))["hf_overrides"]

    _require_right(_routing(engine_python(), overrides["quantization_config"]))


def test_the_launcher_adds_to_the_config_and_takes_nothing_away(
    tmp_path: Path,
) -> None:
    layout = _layout(tmp_path)

    assert layout.layout == "deepseek-v4"
    assert layout.overlay is not None
    assert layout.overlay.quantization_config == {**_WRITTEN, "ignore": ["mtp.*"]}
