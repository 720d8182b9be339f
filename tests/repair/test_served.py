"""A repaired checkpoint in the engine, under the names that vLLM itself knows."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nvfp4_layouts.rewrite import make_rewrite
from nvfp4_layouts.types import Stored

from engines import engine_python
from repair.foreign import (
    EXAMPLE,
    Foreign,
    fused_columns,
    fused_rows,
    projection_first,
    quantizer_state,
    read_tensors,
    write_checkpoint,
)
from repair.running import repaired
from twins.bench import Bench

pytestmark = pytest.mark.engine

FOREIGN = [
    pytest.param(projection_first, id="B"),
    pytest.param(quantizer_state, id="C2"),
    pytest.param(fused_columns("_"), id="D1"),
    pytest.param(fused_rows("."), id="D2"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    log = tmp_path_factory.mktemp("engine") / "worker.log"
    with Bench(engine_python(), log) as bench:
        yield bench


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_repaired_checkpoint_recites(
    tmp_path: Path, bench: Bench, foreign: Foreign
) -> None:
    canary: dict[str, str] = json.loads((EXAMPLE / "canary.json").read_text())
    source = write_checkpoint(tmp_path / "src", foreign(read_tensors(EXAMPLE)))
    repaired(source, tmp_path / "dst")
    # Nothing is left for an adapter to do: these are the names that vLLM knows.
    stored = {n: Stored(t[0], t[1]) for n, t in read_tensors(tmp_path / "dst").items()}
    assert make_rewrite(stored, "Qwen3MoeForCausalLM") is None

    answers = bench.run(tmp_path / "dst", list(canary), max_tokens=400)

    assert [answer.text for answer in answers] == list(canary.values())


_READ = """
import glob, hashlib, json, sys
from safetensors import safe_open
import torch
found = {}
for shard in glob.glob(sys.argv[1] + "/*.safetensors"):
    with safe_open(shard, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "by": "a test"}
        for name in file.keys():
            data = file.get_tensor(name).contiguous()
            data = data.view(-1).view(torch.uint8).numpy().tobytes()
            found[name] = hashlib.sha256(data).hexdigest()
print(json.dumps(found))
"""


@pytest.mark.parametrize("foreign", FOREIGN)
def test_safetensors_itself_reads_the_same_bytes(
    tmp_path: Path, foreign: Foreign
) -> None:
    found = []
    backwards = dict(sorted(foreign(read_tensors(EXAMPLE)).items(), reverse=True))
    source = write_checkpoint(tmp_path / "src", backwards, shards=2, wide_first=False)
    repaired(source, tmp_path / "dst")
    right = write_checkpoint(tmp_path / "right", read_tensors(EXAMPLE))

    for folder in (tmp_path / "dst", right):
        command = [str(engine_python()), "-c", _READ, str(folder)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout))

    assert found[0] == found[1]
    assert len(found[0]) == 141
