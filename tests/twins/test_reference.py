"""The numpy reference against transformers: two readings of the same files."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from twins.producer import Twin, producer_python
from twins.qwen3_reference import load_reference
from twins.specimens import EXAMPLE, random_texts

_SECOND_READER = Path(__file__).parent / "second_reader.py"


@pytest.mark.producer
def test_numpy_and_transformers_agree(fresh_twins: Mapping[Twin, Path]) -> None:
    texts = {t: random_texts(t.vocabulary)[0] for t in fresh_twins if not t.kv_cache}
    asked = [(str(fresh_twins[twin]), text) for twin, text in texts.items()]
    command: list[str | Path] = [producer_python(), _SECOND_READER, json.dumps(asked)]

    theirs = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    )

    for (twin, text), their_logprobs in zip(texts.items(), theirs, strict=True):
        ours = load_reference(fresh_twins[twin]).judge(text).logprobs
        assert np.abs(ours - np.array(their_logprobs)).max() < 1e-3


def test_the_reference_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for file in EXAMPLE.glob("model.safetensors"):
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((EXAMPLE / "config.json").read_text())
    config["rope_parameters"]["rope_type"] = "yarn"
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(ValueError, match="rope scaling"):
        load_reference(tmp_path)
