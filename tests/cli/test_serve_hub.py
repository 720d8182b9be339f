"""The whole way that a user goes: a Hub id in, right answers out, nothing left.

A fresh export of real ModelOpt lies on a local Hub; the real launcher reads its
headers there, the real engine downloads it, and numpy says what it must answer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from hub_server import COMMIT, Hub, running_hub
from nvfp4_serve.ready.client import ask
from nvfp4_serve.ready.types import Watched
from nvfp4_serve.runtime.instances import list_instances
from nvfp4_serve.runtime.proc import read_members
from nvfp4_serve.runtime.types import Instance
from stand_in import free_port
from twins.bench import EngineAnswer, Tokens, TopLogprobs, compare
from twins.producer import Twin, make_twins
from twins.qwen3_reference import load_reference
from twins.specimens import BFLOAT16, random_texts

pytestmark = [pytest.mark.engine, pytest.mark.producer]

MODEL: Final = "acme/Twin-NVFP4"
#: Not one of the bench's twins: another size, another seed.
TWIN: Final = Twin(
    architecture="Qwen3MoeForCausalLM", seed=21, hidden=192, feed_forward=160, experts=7
)


def launcher(*words: str, hub: Hub, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", *words],
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def answer(instance: Instance, prompt: Tokens) -> EngineAnswer:
    """Ask over the OpenAI API for greedy tokens and the logprobs of everything."""
    engine = Watched(instance.url, instance.log, MODEL, None, lambda: None)
    question = {
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": 8,
        "temperature": 0,
        "logprobs": 5,
        "prompt_logprobs": 5,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    status, content = ask(engine, "/v1/completions", question, seconds=60)
    assert status == 200, content
    (choice,) = json.loads(content)["choices"]
    return EngineAnswer(
        prompt=prompt,
        tokens=tuple(choice["token_ids"]),
        text=choice["text"],
        top_logprobs=tuple(map(_named, choice["logprobs"]["top_logprobs"])),
        prompt_logprobs=tuple(map(_detailed, choice["prompt_logprobs"][1:])),
    )


def _named(entry: dict[str, float]) -> TopLogprobs:
    return {int(name.removeprefix("token_id:")): lp for name, lp in entry.items()}


def _detailed(entry: dict[str, dict[str, Any]]) -> TopLogprobs:
    return {int(token): said["logprob"] for token, said in entry.items()}


def test_a_fresh_export_on_a_hub_is_served_and_agrees_with_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = make_twins([TWIN])[TWIN]
    with running_hub() as hub:
        hub.models[MODEL] = folder
        home = tmp_path / "huggingface"

        said = launcher(
            *(MODEL, "--port", str(free_port()), "--detach", "--yes"),
            hub=hub,
            home=home,
        )
        (instance,) = list_instances()
        try:
            answers = [answer(instance, text) for text in random_texts(TWIN.vocabulary)]
        finally:
            launcher("stop", hub=hub, home=home)

    assert said.startswith(f"{instance.url}\n")
    assert list((home / "hub").glob(f"models--*/snapshots/{COMMIT}/*.safetensors"))
    report = compare(answers, load_reference(folder), BFLOAT16)
    assert not report.broken, report
    assert report.compared > 100
    assert read_members(instance.pid) == ()
