import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pins
from nvfp4_serve.resources import VLLM_VERSION
from stand_in_registry import BOTH, Answer, index, registry

IMAGES = Path(__file__).parents[2] / "images"
TODAY = dt.date(2026, 11, 21)
OLD = "sha256:" + "ab" * 32


def written(folder: Path, repository: str, *, digest: str | None = OLD) -> Path:
    """Write pins of one image that ``repository`` serves, and of what stands around."""
    path = folder / "pins.toml"
    known = f'digest = "{digest}"\nsource = "cited"\n' if digest else ""
    path.write_text(
        "# Said once.\n\n"
        f'[image."{repository}:v0.32.0"]\n'
        'platforms = ["linux/amd64", "linux/arm64"]\n'
        f'cuda = "13.0"\n{known}\n'
        '[debian]\nPYTHON = "3"\n'
    )
    return path


@pytest.mark.parametrize("before", [OLD, None])
def test_what_the_registry_says_is_written_and_the_rest_is_left(
    tmp_path: Path, before: str | None
) -> None:
    with registry(Answer(200, BOTH)) as (repository, _):
        path = written(tmp_path, repository, digest=before)
        (said,) = pins.resolve(path, TODAY)

    text = path.read_text()
    found = pins.read_pins(path)
    image = found["image"][f"{repository}:v0.32.0"]
    assert f"was {before}" in said
    assert image["digest"] in said
    assert image["resolved"] == TODAY
    assert image["source"] == "the registry"
    assert image["cuda"] == "13.0"
    assert text.startswith("# Said once.\n\n[image.")
    assert found["debian"] == {"PYTHON": "3"}
    assert text.count("digest") == 1


def test_resolving_again_changes_nothing(tmp_path: Path) -> None:
    with registry(Answer(200, BOTH), Answer(200, BOTH)) as (repository, _):
        path = written(tmp_path, repository)
        pins.resolve(path, TODAY)
        once = path.read_text()
        (said,) = pins.resolve(path, TODAY)

    assert said.endswith("(unchanged)")
    assert path.read_text() == once


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(
            Answer(200, index("linux/amd64")), "has no linux/arm64", id="half"
        ),
        pytest.param(Answer(404), "answers 404", id="no-such-tag"),
    ],
)
def test_a_tag_that_does_not_do_leaves_the_file_as_it_was(
    tmp_path: Path, answer: Answer, says: str
) -> None:
    with registry(answer) as (repository, _):
        path = written(tmp_path, repository)
        before = path.read_text()
        with pytest.raises(pins.PinError, match=says):
            pins.resolve(path, TODAY)

    assert path.read_text() == before


@pytest.mark.parametrize("digest", ["sha256:abc", "ab" * 32, "sha256:" + "AB" * 32])
def test_a_digest_that_is_none_is_refused(tmp_path: Path, digest: str) -> None:
    path = written(tmp_path, "127.0.0.1:1/x", digest=digest)

    with pytest.raises(pins.PinError, match="is no digest"):
        pins.read_pins(path)


def test_the_pins_of_this_checkout_can_be_read_and_know_this_vllm() -> None:
    found = pins.read_pins()

    vllm = found["image"][f"vllm/vllm-openai:v{VLLM_VERSION}"]
    assert vllm["platforms"] == ["linux/amd64", "linux/arm64"]
    assert pins.vllm_version() == VLLM_VERSION
    for image in found["image"].values():
        assert ("digest" in image) == ("source" in image)


def bake(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(IMAGES / "pins.py"), "bake", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_unresolved_pin_stops_a_build_and_says_how_to_resolve_it() -> None:
    unresolved = {
        name
        for name, image in pins.read_pins()["image"].items()
        if "digest" not in image
    }
    vllm = f"vllm/vllm-openai:v{VLLM_VERSION}"

    done = bake("gb10")

    if vllm in unresolved:
        assert done.returncode == 1
        assert f"{vllm} has no digest in images/pins.toml" in done.stderr
        assert "`make pins`" in done.stderr
        assert done.stdout == ""
    else:
        assert re.fullmatch(rf"{vllm}@sha256:[0-9a-f]{{64}}", default(done, "BASE"))


def test_a_stand_in_takes_the_place_of_one_pin_alone() -> None:
    vllm = f"vllm/vllm-openai:v{VLLM_VERSION}"

    done = bake("gb10", "--stand-in", f"{vllm}=stand-in/vllm")

    assert default(done, "BASE") == "stand-in/vllm"
    assert default(done, "CUDA") == "13.0"
    assert "DEBIAN" not in json.loads(done.stdout)["variable"]


def default(done: subprocess.CompletedProcess[str], name: str) -> str:
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["variable"][name]["default"])
