"""`--build`: which image a machine gets, and what a build says."""

from pathlib import Path

import pytest

from hosts import cpu_host, gpu, gpu_host
from nvfp4_serve.errors import EngineError
from nvfp4_serve.host import Host
from nvfp4_serve.resources import images_folder
from nvfp4_serve.runtime.image_build import build_image, target_for

GB10 = gpu_host(gpu(capability=(12, 1), memory=None), architecture="aarch64")
B300 = gpu_host(gpu(capability=(10, 3)), gpu(1, capability=(10, 3)))


@pytest.mark.parametrize(
    ("host", "target"),
    [
        pytest.param(cpu_host(), "cpu", id="cpu"),
        pytest.param(GB10, "gb10", id="gb10"),
        pytest.param(B300, "b300", id="b300"),
        pytest.param(
            gpu_host(gpu(capability=(10, 3)), architecture="aarch64"),
            "gb300",
            id="gb300",
        ),
        pytest.param(gpu_host(gpu(capability=(12, 0))), "rtx-pro", id="rtx-pro"),
        pytest.param(gpu_host(gpu(capability=(9, 0))), "base", id="hopper"),
        pytest.param(
            gpu_host(gpu(capability=(12, 0)), gpu(1, capability=(9, 0))),
            "base",
            id="unlike",
        ),
    ],
)
def test_a_machine_gets_the_image_that_is_made_for_it(host: Host, target: str) -> None:
    assert target_for(host) == target


def builder(folder: Path, text: str) -> Path:
    (folder / "build.py").write_text(text)
    return folder


def test_a_build_is_told_the_target_and_the_engine_and_keeps_off_stdout(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "import os, sys\nprint(sys.argv[1], os.environ['DOCKER_HOST'])\n"

    name = build_image(B300, "unix:///s", builder(tmp_path, script), print)

    out, err = capfd.readouterr()
    assert name == "nvfp4-serve:dev-b300"
    assert "b300 unix:///s" in err
    assert "unix:///s" not in out


def test_a_build_that_fails_starts_nothing(tmp_path: Path) -> None:
    folder = builder(tmp_path, "raise SystemExit(3)")

    with pytest.raises(EngineError, match="`cpu` could not be built") as caught:
        build_image(cpu_host(), "unix:///s", folder, lambda _: None)

    assert "ended with 3" in caught.value.evidence[0]


def test_the_real_build_stops_at_a_pin_that_nobody_resolved(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(EngineError, match="`b300` could not be built"):
        build_image(B300, "unix:///nobody", images_folder(), lambda _: None)

    assert "make pins" in capfd.readouterr().err


def test_without_a_checkout_there_is_nothing_to_build_from() -> None:
    with pytest.raises(EngineError, match="needs a checkout"):
        build_image(cpu_host(), "unix:///s", None, lambda _: None)
