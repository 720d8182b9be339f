import os
from pathlib import Path

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.model_mount import ModelMount, mount_model

ME = (os.getuid(), os.getgid())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "a model: with, odd letters"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_is_mounted_at_a_fixed_path(model: Path) -> None:
    assert mount_model(str(model), ME) == ModelMount(str(model), "/model")


def test_a_link_to_the_folder_is_followed_first(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(model)

    assert mount_model(str(link), ME).source == str(model)


def test_a_revision_of_the_hubs_cache_brings_its_blobs(tmp_path: Path) -> None:
    of_model = tmp_path / "models--me--x"
    revision = of_model / "snapshots" / "abc"
    revision.mkdir(parents=True)
    (of_model / "blobs").mkdir()
    (of_model / "blobs" / "1").write_text("{}")
    (revision / "config.json").symlink_to("../../blobs/1")

    assert mount_model(str(revision), ME) == ModelMount(
        str(of_model), "/model/snapshots/abc"
    )


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "/none"])
def test_a_link_out_of_the_folder_is_refused(model: Path, target: str) -> None:
    (model / "chat_template.jinja").symlink_to(target)

    with pytest.raises(EngineError, match="links that lead out of it") as caught:
        mount_model(str(model), ME)

    assert "chat_template.jinja -> " in caught.value.evidence[0]


def test_a_link_out_of_the_hubs_cache_is_refused(tmp_path: Path) -> None:
    revision = tmp_path / "models--me--x" / "snapshots" / "abc"
    revision.mkdir(parents=True)
    (revision / "config.json").symlink_to("/etc/passwd")

    with pytest.raises(EngineError, match="links that lead out of it"):
        mount_model(str(revision), ME)


def test_a_link_inside_the_folder_is_none_of_these(model: Path) -> None:
    (model / "alias.json").symlink_to("config.json")

    assert mount_model(str(model), ME).path == "/model"


@pytest.mark.parametrize("target", ["missing.safetensors", "model.safetensors"])
def test_a_link_to_nothing_or_in_a_circle_is_named(model: Path, target: str) -> None:
    (model / "model.safetensors").symlink_to(target)

    with pytest.raises(EngineError, match="links that lead to nothing") as caught:
        mount_model(str(model), ME)

    assert caught.value.evidence == (f"model.safetensors -> {target}",)


@pytest.mark.parametrize("path", [".", "config.json"])
def test_what_the_user_of_the_container_may_not_read_is_named(
    model: Path, path: str
) -> None:
    (model / path).chmod(0o700 if path == "." else 0o600)

    with pytest.raises(EngineError, match="runs as user 4711:4711") as caught:
        mount_model(str(model), (4711, 4711))

    assert str((model / path).resolve()) in caught.value.evidence
    assert "chmod -R o+rX" in caught.value.fix
