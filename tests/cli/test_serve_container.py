"""`--runtime docker` where no container is ever made: what is refused, and how."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hosts import cpu_host
from imitated_engine import engine, recorded
from nvfp4_serve.cli.container import (
    check_place,
    check_words,
    container_user,
    describe,
    find_engine,
)
from nvfp4_serve.errors import EngineError, ExitCode, UsageError
from nvfp4_serve.runtime.image import ImageEngine
from nvfp4_serve.runtime.image_command import image_command
from orders import IMAGE, plan

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--runtime", "docker"), "does not know which image to run"),
        (("--build",), "`--build` is for `--runtime docker`"),
        (
            ("--runtime", "docker", "--build", "--image", "x"),
            "`--build` makes an image, and `--image`",
        ),
        (("--image", "x"), "`--image` is for `--runtime docker`"),
        (("--dry-run",), "`--dry-run` is for `--runtime docker`"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    words: tuple[str, ...], says: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", "serve", str(EXAMPLE), *words],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == ExitCode.USAGE
    assert says in done.stderr


@pytest.mark.parametrize("name", ["", "a b", "-x", "../containers/x", "x//y", "a\nb"])
def test_what_is_no_name_of_an_image_is_never_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")
    host = cpu_host()

    with (
        engine(tmp_path / "s", recorded("constructed-podman-5.4")),
        pytest.raises(EngineError, match="no name of an image"),
    ):
        describe(plan(), host, name)


@pytest.mark.parametrize("version", ["4.3.1", "4.9.3", "5.3.9"])
def test_podman_before_5_4_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    answers = recorded("constructed-podman-5.4")
    answers["/version"] = {**answers["/version"], "Version": version}
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")

    with (
        engine(tmp_path / "s", answers),
        pytest.raises(
            EngineError, match=f"Podman {version} at .* is too old"
        ) as caught,
    ):
        find_engine(cpu_host())

    assert "Podman 5.4 or newer" in caught.value.fix


def test_podman_5_4_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/s")

    with engine(tmp_path / "s", recorded("constructed-podman-5.4")):
        found = find_engine(cpu_host())

    assert found.engine == "podman"


@pytest.mark.parametrize(
    "words",
    [
        ("--chat-template", str(EXAMPLE / "config.json")),
        (f"--chat-template={EXAMPLE / 'config.json'}",),
    ],
)
def test_files_of_this_machine_do_not_get_into_a_container(
    words: tuple[str, ...],
) -> None:
    with pytest.raises(UsageError, match="cannot be passed to a container"):
        check_words(words)


def test_other_words_do(tmp_path: Path) -> None:
    check_words(("--max-num-seqs", "8", "--chat-template", f"{tmp_path}/none"))


@pytest.mark.parametrize(
    ("uid", "rootless", "user"),
    [(1000, False, (1000, 100)), (0, False, (2000, 0)), (1000, True, (0, 0))],
)
def test_a_container_never_runs_as_the_machines_root(
    uid: int, rootless: bool, user: tuple[int, int]
) -> None:
    assert container_user(uid, 100, rootless=rootless) == user


def test_the_command_of_an_image_of_ours_is_in_its_label() -> None:
    words = ["/usr/local/bin/nvfp4-serve-engine"]
    image = replace(IMAGE, labels={"org.nvfp4-serve.serve": json.dumps(words)})
    said: list[str] = []

    assert image_command(image, plan(), said.append) == tuple(words)
    assert said == []


def test_an_image_of_others_is_run_by_its_entrypoint_and_said_to_be_that() -> None:
    said: list[str] = []

    assert image_command(IMAGE, plan(), said.append) == ("vllm", "serve")
    assert "is not an image of ours: it lacks our patches" in said[0]


def test_an_image_that_does_not_say_how_it_serves_is_refused() -> None:
    image = replace(IMAGE, entrypoint=("/bin/bash",))

    with pytest.raises(EngineError, match="does not say how it runs vLLM"):
        image_command(image, plan(), lambda _: None)


def test_the_launcher_of_an_image_starts_no_containers() -> None:
    words = dict.fromkeys(ImageEngine.__struct_fields__, "")
    inside = ImageEngine(**{**words, "target": "cpu"})  # type: ignore[arg-type]

    with pytest.raises(UsageError, match="a container of the image `cpu` already"):
        check_place(inside)


def test_a_variable_that_names_a_file_of_this_machine_does_not_either() -> None:
    ours = (("VLLM_CACHE_ROOT", "/tmp"), ("NCCL_DEBUG", "INFO"))  # noqa: S108
    check_words((), ours)

    with pytest.raises(UsageError, match="cannot be passed to a container") as caught:
        check_words((), (("VLLM_LOGGING_CONFIG_PATH", __file__),))

    assert "VLLM_LOGGING_CONFIG_PATH=" in caught.value.evidence[0]
