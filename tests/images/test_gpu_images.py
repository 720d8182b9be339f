"""The images for GPUs, on a stand-in for vLLM's own: Debian and vLLM's real files.

What is shown: they build, what they add, and what they say where there is no GPU. That
they serve on one is not shown.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from docker_session import Docker, build_gpu
from nvfp4_serve.errors import ExitCode
from nvfp4_serve.resources import VLLM_VERSION, data_folder

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
MACHINES = {"gb10": "12.1", "b300": "10.3", "gb300": "10.3", "rtx-pro": "12.0"}
#: Bytes over the base.
MOST = 20_000_000


@pytest.fixture
def images(docker: Docker, gpu_images: None) -> Docker:
    """The engine, once it has the images."""
    assert gpu_images is None
    return docker


def manifest(docker: Docker, name: str) -> dict[str, Any]:
    words = ("run", "--rm", "--network=none", "--entrypoint=cat")
    path = "/opt/nvfp4-serve/manifest.json"
    found: dict[str, Any] = json.loads(
        docker.run(*words, f"nvfp4-serve:dev-{name}", path)
    )
    return found


def run(docker: Docker, image: str, *words: str) -> tuple[int, str]:
    """Run a container to its end; return its exit code, and what it said."""
    mount = f"{ROOT / 'examples'}:/models:ro"
    made = ("create", "--network=none", "--volume", mount)
    identity = docker.run(*made, image, *words).strip().splitlines()[-1]
    try:
        said = docker.run("start", "--attach", identity, check=False)
        code = docker.run("inspect", "--format={{.State.ExitCode}}", identity)
    finally:
        docker.run("rm", "--force", identity)
    return int(code), said


def test_the_manifest_says_which_patches_are_in(images: Docker) -> None:
    lock = json.loads(
        (data_folder("patches") / "vllm" / VLLM_VERSION / "lock.json").read_text()
    )

    found = manifest(images, "base")

    assert found["vllm"] == {"distribution": "vllm", "version": VLLM_VERSION}
    assert found["patches"] == lock["patches"]
    assert found["plugin"] == lock["plugin"]
    assert "--moe-backend" in found["flags"]
    assert found["cuda"] == "13.0"
    assert found["capabilities"] == []


@pytest.mark.parametrize("name", MACHINES)
def test_the_image_of_a_machine_says_so_and_gives_the_engine_what_it_sets(
    images: Docker, name: str
) -> None:
    found = manifest(images, name)

    shown = images.run(
        "inspect", "--format={{json .Config.Env}}", f"nvfp4-serve:dev-{name}"
    )
    sets = {entry.partition("=")[0] for entry in json.loads(shown)}
    assert found["target"] == name
    assert found["capabilities"] == [MACHINES[name]]
    assert "FLASHINFER_CUDA_ARCH_LIST" in sets & set(found["environment"])


@pytest.mark.parametrize("name", ["base", *MACHINES])
def test_little_is_added_to_the_base(images: Docker, name: str) -> None:
    sizes = [
        int(images.run("inspect", "--format={{.Size}}", image))
        for image in (f"nvfp4-serve:dev-{name}", "stand-in/vllm")
    ]

    assert 0 < sizes[0] - sizes[1] <= MOST


@pytest.mark.parametrize("name", ["base", "gb10"])
@pytest.mark.parametrize("command", ["serve", "plan"])
def test_without_a_gpu_it_says_so_and_serves_nothing(
    images: Docker, name: str, command: str
) -> None:
    words = (command, "/models/sonnet-18-nvfp4")

    code, said = run(images, f"nvfp4-serve:dev-{name}", *words)

    assert code == ExitCode.ENGINE
    assert "No NVIDIA GPU can be used in this container" in said
    assert "--gpus all" in said


def test_without_a_gpu_it_plans_and_recommends_nothing_else(images: Docker) -> None:
    model = "/models/sonnet-18-nvfp4"
    code, said = run(images, "nvfp4-serve:dev-base", "plan", model)
    ill, report = run(images, "nvfp4-serve:dev-base", "doctor")

    assert (code, ill) == (ExitCode.ENGINE, ExitCode.HOST)
    for words in (said, report):
        assert "No NVIDIA GPU can be used in this container" in words
    assert "engine install" not in report


def test_it_starts_no_containers_itself(images: Docker) -> None:
    words = ("--runtime", "docker", "--image", "x")
    code, said = run(images, "nvfp4-serve:dev-base", "/models/sonnet-18-nvfp4", *words)

    assert code == ExitCode.USAGE
    assert "This is a container of the image `base` already" in said


def test_an_engine_that_was_changed_is_not_started(
    images: Docker, tmp_path: Path
) -> None:
    site = manifest(images, "base")["site_packages"]
    (tmp_path / "Dockerfile").write_text(
        "FROM nvfp4-serve:dev-base\nUSER 0\n"
        f"RUN echo '# more' >> {site}/vllm/entrypoints/cli/main.py\nUSER 1000:0\n"
        'ENTRYPOINT ["/usr/local/bin/nvfp4-serve-engine"]\n'
    )
    images.run("buildx", "build", "--load", "--tag=changed", tmp_path)

    code, said = run(images, "changed", "/models/sonnet-18-nvfp4")

    assert code == ExitCode.PATCH
    assert "was changed since the image was built" in said
    assert "vllm/entrypoints/cli/main.py: other content" in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(
            "RUN echo '# more' >> SITE/vllm/entrypoints/cli/main.py",
            "is not the pristine vLLM",
            id="other-files",
        ),
        pytest.param(
            "RUN sed -i s/13.0/12.9/ SITE/torch/version.py",
            "torch is built for CUDA 12.9",
            id="another-cuda",
        ),
        pytest.param(
            "RUN rm -r SITE/msgspec-*.dist-info", "msgspec>=0.19: not there", id="less"
        ),
        pytest.param(
            "RUN rm -r SITE/vllm-*.dist-info", "The base has no vLLM", id="no-vllm"
        ),
    ],
)
def test_a_base_that_does_not_do_stops_the_build(
    images: Docker, tmp_path: Path, line: str, says: str
) -> None:
    site = manifest(images, "base")["site_packages"]
    text = f"FROM stand-in/vllm\n{line.replace('SITE', site)}\n"
    (tmp_path / "Dockerfile").write_text(text)
    images.run("buildx", "build", "--load", "--tag=wrong", tmp_path)
    given = ("--build-arg=BASE=wrong", "--build-arg=CUDA=13.0")
    file = str(ROOT / "images" / "base.Dockerfile")

    said = images.run(
        *("buildx", "build", "--progress=plain", *given, "-f", file, ROOT), check=False
    )

    assert says in said
    assert "did not complete successfully" in said


def test_kernels_that_the_base_cannot_carry_stop_the_build(
    images: Docker, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exception, match="non-zero exit status"):
        build_gpu(images, "gb10", kernels="b12x")

    said = capfd.readouterr().err
    assert "+ b12x==1.5.1" in said
    assert "nvidia-cutlass-dsl==4.8.0: not there" in said
