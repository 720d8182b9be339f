import json
from pathlib import Path
from typing import Any

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.errors import EngineError, PatchError
from nvfp4_serve.host import Host
from nvfp4_serve.runtime.image import (
    ImageEngine,
    check_machine,
    image_command,
    image_environment,
    read_image,
    verify_image,
)


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "nvfp4-serve/image/v1",
        "target": "gb10",
        "launcher": "0.1.0",
        "vllm": {"distribution": "vllm", "version": "0.32.0"},
        "python": "/usr/bin/python3",
        "python_version": "3.12.3",
        "site_packages": "/nowhere/dist-packages",
        "torch": "2.13.0",
        "cuda": "13.0",
        "patch_digest": "ab" * 32,
        "patches": {},
        "plugin": {},
        "flags": ["--port"],
        "environment": ["CUTE_DSL_ARCH"],
        "capabilities": ["12.1"],
        **changes,
    }


def image(folder: Path, **changes: Any) -> ImageEngine:
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest(**changes)))
    found = read_image(path)
    assert found is not None
    return found


def test_outside_an_image_there_is_no_engine_of_one(tmp_path: Path) -> None:
    assert read_image(tmp_path / "manifest.json") is None


def test_the_engine_of_an_image_runs_on_the_images_own_python(tmp_path: Path) -> None:
    found = image(tmp_path)

    assert found.requirement == "vllm==0.32.0"
    assert image_command(found)[:2] == ("/usr/bin/python3", "-I")


def test_the_engine_is_given_what_the_image_names_and_nothing_else(
    tmp_path: Path,
) -> None:
    ours = {"CUTE_DSL_ARCH": "sm_121a", "AWS_SECRET_ACCESS_KEY": "x"}

    given = image_environment(image(tmp_path), ours)

    assert given == (("CUTE_DSL_ARCH", "sm_121a"),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("{", "truncated", id="not-json"),
        pytest.param("[]", "Expected `object`", id="another-kind"),
        pytest.param(json.dumps(manifest(more=1)), "unknown field `more`", id="newer"),
        pytest.param(
            json.dumps(manifest(schema="nvfp4-serve/image/v2")),
            "its schema is `nvfp4-serve/image/v2`",
            id="another-schema",
        ),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(
    tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)

    with pytest.raises(EngineError, match="does not describe the engine") as caught:
        read_image(path)

    assert says in caught.value.problem


@pytest.mark.parametrize(
    ("changes", "host"),
    [
        pytest.param({}, gpu_host(gpu(capability=(12, 1), memory=None)), id="gb10"),
        pytest.param({"capabilities": []}, gpu_host(gpu(capability=(9, 0))), id="any"),
        pytest.param({"cuda": None, "capabilities": []}, cpu_host(), id="cpu"),
    ],
)
def test_a_machine_that_the_image_is_made_for_is_taken(
    tmp_path: Path, changes: dict[str, Any], host: Host
) -> None:
    check_machine(image(tmp_path, **changes), host)


@pytest.mark.parametrize(
    ("changes", "host", "says"),
    [
        pytest.param({}, cpu_host(), "No NVIDIA GPU can be used", id="gpus-forgotten"),
        pytest.param(
            {"cuda": None, "capabilities": []},
            gpu_host(gpu()),
            "for machines without a GPU",
            id="gpu-given-to-the-cpu-image",
        ),
        pytest.param(
            {},
            gpu_host(gpu(capability=(10, 3))),
            "capability 12.1, and 10.3 is here",
            id="another-gpu",
        ),
        pytest.param(
            {},
            gpu_host(gpu(0, capability=(12, 1)), gpu(1, capability=(12, 0))),
            "capability 12.1, and 12.0 is here",
            id="one-of-two",
        ),
    ],
)
def test_a_machine_that_the_image_is_not_made_for_is_refused(
    tmp_path: Path, changes: dict[str, Any], host: Host, says: str
) -> None:
    with pytest.raises(EngineError) as caught:
        check_machine(image(tmp_path, **changes), host)

    assert says in caught.value.problem
    assert caught.value.fix


def test_an_engine_that_is_not_there_is_not_verified(tmp_path: Path) -> None:
    series = Path(__file__).parents[2] / "patches" / "series.py"

    with pytest.raises(PatchError, match="was changed since the image was built"):
        verify_image(image(tmp_path), series)
