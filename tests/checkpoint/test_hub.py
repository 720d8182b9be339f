"""Checkpoints on the Hub: the real huggingface_hub, and a real server beside us."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download, snapshot_download

from checkpoint.builders import (
    NVFP4_CONFIG,
    modelopt_moe,
    tensor_count,
    write_checkpoint,
)
from hub_server import COMMIT, Hub, running_hub
from nvfp4_serve.checkpoint import layout_json, read_checkpoint, read_layout
from nvfp4_serve.checkpoint.source import downloaded_bytes
from nvfp4_serve.errors import CheckpointError

MODEL = "owner/name-NVFP4"


def point_at(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make huggingface_hub, which may be loaded already, use ``url`` and ``folder``.

    ``test_honours_the_environment...`` does the same by environment, as users do.
    """
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with one model of three shards; huggingface_hub knows no other."""
    with running_hub() as hub:
        point_at(hub.url, tmp_path, monkeypatch)
        folder = tmp_path / "uploaded"
        hub.models[MODEL] = write_checkpoint(
            folder, modelopt_moe(), quantization=NVFP4_CONFIG, shards=3
        )
        yield hub


def header_bytes(folder: Path) -> dict[str, int]:
    """Return the length and header of every shard, in bytes."""
    return {
        shard.name: 8 + int.from_bytes(shard.read_bytes()[:8], "little")
        for shard in folder.glob("*.safetensors")
    }


def said_of(model: str, *, revision: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(model, revision=revision)
    error = caught.value
    assert error.fix
    return "\n".join((error.problem, *error.evidence, error.fix))


def test_says_the_same_of_the_hub_as_of_the_folder(hub: Hub) -> None:
    remote = read_checkpoint(MODEL)

    local = read_checkpoint(str(hub.models[MODEL]))
    assert remote.groups == local.groups
    assert remote.revision == COMMIT
    assert remote.folder is None
    assert {**layout_json(read_layout(remote)), "model": ""} == {
        **layout_json(read_layout(local)),
        "model": "",
    }


@pytest.mark.parametrize("redirects", [False, True])
def test_asks_twice_for_a_shard_and_never_for_a_weight(
    hub: Hub, *, redirects: bool
) -> None:
    hub.redirects = redirects
    headers = header_bytes(hub.models[MODEL])

    read_checkpoint(MODEL)

    asked = hub.shard_exchanges()
    assert asked.keys() == headers.keys()
    for name, exchanges in asked.items():
        assert len(exchanges) <= 2
        assert sum(exchange.sent for exchange in exchanges) == headers[name]
        assert exchanges[-1].range == f"bytes=8-{headers[name] - 1}"


def test_asks_for_the_one_commit_that_the_revision_is(hub: Hub) -> None:
    read_checkpoint(MODEL, revision="main")

    files = [e.path for e in hub.log if "/resolve/" in e.path]
    assert files
    assert all(f"/resolve/{COMMIT}/" in path for path in files)


def test_tells_the_hub_nothing_but_the_token(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    read_checkpoint(MODEL)

    assert {exchange.authorization for exchange in hub.log} == {"Bearer hf_secret"}


def test_does_not_carry_the_token_to_another_host(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_hub() as other:
        other.models = hub.models
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        hub.redirects_to = other.url

        read_checkpoint(MODEL)

    assert other.shard_exchanges().keys() == header_bytes(hub.models[MODEL]).keys()
    assert {exchange.authorization for exchange in other.log} == {None}


def test_reads_a_single_file(hub: Hub, tmp_path: Path) -> None:
    hub.models["single"] = write_checkpoint(tmp_path / "single", modelopt_moe())

    assert tensor_count(read_checkpoint("single")) == len(modelopt_moe())


def test_reads_many_shards_at_once_and_in_any_number(hub: Hub, tmp_path: Path) -> None:
    tensors = modelopt_moe(experts=9)
    hub.models["many"] = write_checkpoint(tmp_path / "many", tensors, shards=40)

    assert tensor_count(read_checkpoint("many")) == len(tensors)
    assert len(hub.shard_exchanges()) == 40


@pytest.mark.parametrize(
    ("model", "revision", "says"),
    [
        ("owner/nothing", None, "no model `owner/nothing`"),
        (MODEL, "v9", "no revision 'v9'"),
        ("not a//model id", None, "neither a folder nor the id of a model"),
    ],
)
def test_says_that_there_is_no_such_model(
    hub: Hub, model: str, revision: str | None, says: str
) -> None:
    assert hub.url

    assert says in said_of(model, revision=revision)


def test_says_that_a_model_is_gated(hub: Hub) -> None:
    hub.gated.add(MODEL)

    said = said_of(MODEL)

    assert "is gated" in said
    assert f"{hub.url}/{MODEL}" in said


def test_gives_up_on_a_server_that_ignores_the_range(hub: Hub, tmp_path: Path) -> None:
    # 1 GiB that must not come down the wire.
    tensors = {"model.layers.0.mlp.up_proj.weight": ("BF16", (1 << 14, 1 << 15))}
    hub.models["big"] = write_checkpoint(tmp_path / "big", tensors)
    hub.ignores_range = True

    said = said_of("big")

    assert "does not serve ranges of `model.safetensors`" in said
    assert hub.bytes_sent() < 64 << 20


def test_says_that_an_answer_was_cut(hub: Hub) -> None:
    hub.cuts = 100

    said = said_of(MODEL)

    assert "3 faults" in said
    assert "model-00002-of-00003.safetensors" in said


def test_asks_again_when_the_hub_is_busy_for_a_moment(hub: Hub) -> None:
    hub.fails_first = 1

    assert tensor_count(read_checkpoint(MODEL)) == len(modelopt_moe())


def test_says_that_the_hub_fails(hub: Hub) -> None:
    hub.failing = 500

    said = said_of(MODEL)

    assert "answers with status 500" in said


def test_says_that_a_shard_was_not_uploaded(hub: Hub) -> None:
    (hub.models[MODEL] / "model-00002-of-00003.safetensors").unlink()

    assert "`model-00002-of-00003.safetensors` of" in said_of(MODEL)


def test_says_that_a_shard_is_too_short(hub: Hub) -> None:
    (hub.models[MODEL] / "model-00002-of-00003.safetensors").write_bytes(b"")

    assert "`model-00002-of-00003.safetensors` is too short" in said_of(MODEL)


def test_never_asks_for_a_name_outside_of_the_model(hub: Hub) -> None:
    index = hub.models[MODEL] / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../api/whoami"}}))

    assert "outside of its folder" in said_of(MODEL)
    assert not [exchange for exchange in hub.log if "whoami" in exchange.path]


def test_says_that_a_login_page_answers_instead_of_the_hub(hub: Hub) -> None:
    hub.answer_with_page = True

    assert "does not answer like a Hub" in said_of(MODEL)


def test_says_that_there_is_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Port 9 of the loopback: nobody listens.
    point_at("http://127.0.0.1:9", tmp_path, monkeypatch)

    assert "cannot be reached" in said_of(MODEL)


def test_reads_the_cache_and_no_shard_of_the_hub_where_the_model_was_downloaded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = snapshot_download(MODEL)
    hub.log.clear()

    online = read_checkpoint(MODEL)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = read_checkpoint(MODEL)

    assert online.folder == offline.folder == folder
    assert online.revision == offline.revision == COMMIT
    assert [exchange.path for exchange in hub.log] == [f"/api/models/{MODEL}"]


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.model",
        "merges.txt",
        "chat_template.jinja",
        "modeling_x.py",
        "a/b.txt",
    ],
)
def test_asks_the_hub_where_the_cache_lacks_what_an_engine_may_want(
    hub: Hub, name: str
) -> None:
    (hub.models[MODEL] / name).parent.mkdir(exist_ok=True)
    (hub.models[MODEL] / name).write_text("x")
    snapshot_download(MODEL, ignore_patterns=[name])

    assert read_checkpoint(MODEL).folder is None


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model-q4.gguf", "original/params.json", "README.md"]
)
def test_reads_the_cache_where_it_lacks_what_no_engine_wants(
    hub: Hub, name: str
) -> None:
    (hub.models[MODEL] / name).parent.mkdir(exist_ok=True)
    (hub.models[MODEL] / name).write_text("x")
    folder = snapshot_download(MODEL, ignore_patterns=[name])

    assert read_checkpoint(MODEL).folder == folder


def test_counts_what_the_cache_holds_of_a_model(hub: Hub) -> None:
    nothing = downloaded_bytes(MODEL)
    hf_hub_download(MODEL, "config.json")

    assert nothing == 0
    assert downloaded_bytes(MODEL) == (hub.models[MODEL] / "config.json").stat().st_size


def test_asks_the_hub_where_the_cache_is_not_complete(hub: Hub) -> None:
    hf_hub_download(MODEL, "config.json")
    hub.log.clear()

    checkpoint = read_checkpoint(MODEL)

    assert len(hub.shard_exchanges()) == 3

    assert checkpoint.folder is None
    assert tensor_count(checkpoint) == len(modelopt_moe())


def test_says_that_it_is_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    assert "HF_HUB_OFFLINE is set" in said_of(MODEL)
    assert not hub.log


def test_honours_the_environment_and_keeps_huggingface_hub_quiet(
    hub: Hub, tmp_path: Path
) -> None:
    hub.fails_first = 1  # A retry, of which huggingface_hub would warn.
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": hub.url,
    }
    code = (
        "from nvfp4_serve.checkpoint import read_checkpoint; "
        f"print(len(read_checkpoint({MODEL!r}).groups))"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("11\n", "")
    assert not (tmp_path / "home").exists()
    assert all("/models/" in e.path or "/resolve/" in e.path for e in hub.log)


def test_does_not_load_huggingface_hub_for_a_folder(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, modelopt_moe())
    code = (
        "import sys; from nvfp4_serve.checkpoint import read_checkpoint; "
        f"read_checkpoint({str(folder)!r}); print('huggingface_hub' in sys.modules)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
