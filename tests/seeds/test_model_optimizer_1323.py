"""Model-Optimizer#1323: "4 silent-failure bugs" of NVFP4 for fused MoE models.

What was found, by running it (transformers 5.5.4 is the report's own):

- Bug 1, ``architectures=None``: a TypeError in every release up to 0.47.0, which we
  patch. ``tests/patches/test_modelopt_no_architectures.py`` is that patch's own test.
- Bugs 3 and 4, experts that get no NVFP4 and are written in bfloat16: no release shows
  them with the report's own model. 0.43.0 asks for transformers below 5, where experts
  were modules of their own; with 5.5.4 all the same it leaves GLM-4-MoE's experts in
  bfloat16 and ends with success, and refuses Qwen3-MoE aloud. 0.44.0 packs them; it was
  tried by hand, and the report's state lay between the two.
- Bug 5, the order of two branches: 0.44.0 and 0.47.0 pack Qwen3.5-MoE, whose export it
  broke.
"""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from twins.environments import MODELOPT_0_43_TRANSFORMERS_5, MODELOPT_0_47

pytestmark = pytest.mark.producer

_QUANTIZER: Final = Path(__file__).with_name("quantize_with_modelopt.py")


def outcome(python: Path, kind: str, architectures: str, folder: Path) -> Any:
    """Return what ModelOpt made of a tiny model."""
    command = [str(python), str(_QUANTIZER), kind, architectures, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_0_43_writes_fused_experts_in_bfloat16_and_says_nothing(tmp_path: Path) -> None:
    assert outcome(
        MODELOPT_0_43_TRANSFORMERS_5.python, "glm4_moe", "named", tmp_path
    ) == {"dtypes": ["BF16"]}


def test_0_43_refuses_the_experts_of_qwen3_moe_aloud(tmp_path: Path) -> None:
    told = outcome(MODELOPT_0_43_TRANSFORMERS_5.python, "qwen3_moe", "named", tmp_path)

    assert "NotImplementedError" in told["error"]


@pytest.mark.parametrize("kind", ["glm4_moe", "qwen3_moe", "qwen3_5_moe_text"])
def test_0_47_packs_the_experts(kind: str, tmp_path: Path) -> None:
    assert outcome(MODELOPT_0_47.python, kind, "named", tmp_path) == {"dtypes": ["U8"]}


def test_0_47_still_stops_where_no_architecture_is_named(tmp_path: Path) -> None:
    told = outcome(MODELOPT_0_47.python, "qwen3_moe", "none", tmp_path)

    assert told["error"] == "TypeError: 'NoneType' object is not iterable"
