"""How an engine is asked for GPUs: from answers of real engines, and constructed ones.

``tests/data/hosts/engines`` holds both; ``recorded`` says which is which.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nvfp4_serve.host.attach import Answers, choose_attach, read_answers
from nvfp4_serve.host.types import Attach

ENGINES = Path(__file__).parents[1] / "data/hosts/engines"
SERVER = frozenset({(10, 0)})


def recorded(name: str) -> Answers:
    data = json.loads((ENGINES / f"{name}.json").read_text())
    assert data["recorded"] is True
    return read_answers(data["version"], data["info"])


def constructed(name: str) -> Answers:
    data = json.loads((ENGINES / f"constructed-{name}.json").read_text())
    assert data["recorded"] is False
    return read_answers(data["version"], data["info"])


def podman(version: str, **info: Any) -> Answers:
    """Constructed: Podman's Docker-compatible API names itself in ``Components``."""
    return read_answers(
        {"Version": version, "Components": [{"Name": "Podman Engine"}]}, info
    )


@pytest.mark.parametrize(
    ("name", "version", "runtimes", "folders", "devices"),
    [
        (
            "docker-28.5-plain",
            "28.5.2+dfsg4",
            ("io.containerd.runc.v2", "runc"),
            ("/etc/cdi", "/var/run/cdi"),
            None,
        ),
        (
            "docker-28.5-cdi",
            "28.5.2+dfsg4",
            ("io.containerd.runc.v2", "runc"),
            ("/tmp/cdi",),  # noqa: S108 - where the recorded engine looked
            ("nvidia.com/gpu=0", "nvidia.com/gpu=all"),
        ),
        (
            "docker-28.5-cdi-off",
            "28.5.2+dfsg4",
            ("io.containerd.runc.v2", "runc"),
            (),
            None,
        ),
        (
            "docker-28.5-nvidia-runtime",
            "28.5.2+dfsg4",
            ("io.containerd.runc.v2", "nvidia", "runc"),
            ("/etc/cdi", "/var/run/cdi"),
            None,
        ),
        (
            "docker-20.10-plain",
            "20.10.24+dfsg1",
            ("io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "runc"),
            (),
            None,
        ),
    ],
)
def test_the_answers_of_a_real_engine_are_read(
    name: str,
    version: str,
    runtimes: tuple[str, ...],
    folders: tuple[str, ...],
    devices: tuple[str, ...] | None,
) -> None:
    assert recorded(name) == Answers(
        engine="docker",
        version=version,
        rootless=False,
        runtimes=runtimes,
        cdi_spec_dirs=folders,
        cdi_devices=devices,
    )


@pytest.mark.parametrize(
    ("name", "has_hook", "attach", "because"),
    [
        ("docker-28.5-plain", False, Attach.NONE, "no CDI spec lists nvidia.com/gpu"),
        ("docker-28.5-plain", True, Attach.DEVICE_REQUEST, "hook` is installed"),
        ("docker-28.5-cdi", False, Attach.CDI, "nvidia.com/gpu=0 and 1 more"),
        ("docker-28.5-cdi", True, Attach.DEVICE_REQUEST, "hook` is installed"),
        ("docker-28.5-cdi-off", False, Attach.NONE, "its CDI is off"),
        ("docker-28.5-nvidia-runtime", False, Attach.DEVICE_REQUEST, "runtime"),
        ("docker-20.10-plain", False, Attach.NONE, "its CDI is off"),
    ],
)
def test_the_way_to_attach_follows_from_what_the_engine_has(
    name: str, has_hook: bool, attach: Attach, because: str
) -> None:
    answers = recorded(name)

    chosen, reason = choose_attach(
        answers, answers.cdi_devices or (), SERVER, has_hook=has_hook
    )

    assert chosen is attach
    assert because in reason


def test_a_spec_does_not_help_an_engine_whose_cdi_is_off() -> None:
    answers = recorded("docker-20.10-plain")

    attach, _ = choose_attach(answers, ("nvidia.com/gpu=all",), SERVER, has_hook=False)

    assert attach is Attach.NONE


def test_jetson_takes_the_runtime_and_not_a_device_request() -> None:
    answers = recorded("docker-28.5-nvidia-runtime")

    attach, reason = choose_attach(answers, (), frozenset({(11, 0)}), has_hook=True)

    assert attach is Attach.RUNTIME
    assert "Jetson" in reason


@pytest.mark.parametrize(
    ("version", "devices", "attach", "because"),
    [
        ("4.9.3", ("nvidia.com/gpu=all",), Attach.NONE, "drops requests for GPUs"),
        ("5.3.2", ("nvidia.com/gpu=all",), Attach.NONE, "5.4 is the first"),
        ("5.4.0", ("nvidia.com/gpu=all",), Attach.CDI, "nvidia.com/gpu=all"),
        ("5.10.0", ("nvidia.com/gpu=all",), Attach.CDI, "nvidia.com/gpu=all"),
        ("5.4.0", (), Attach.NONE, "no CDI spec lists"),
        ("", ("nvidia.com/gpu=all",), Attach.NONE, "(no version)"),
    ],
)
def test_podman_takes_gpus_by_cdi_from_5_4_on(
    version: str, devices: tuple[str, ...], attach: Attach, because: str
) -> None:
    answers = podman(version, Runtimes={"nvidia": {}, "crun": {}})
    assert answers.engine == "podman"

    chosen, reason = choose_attach(answers, devices, SERVER, has_hook=True)

    assert chosen is attach
    assert because in reason


def test_rootless_is_what_the_engine_says() -> None:
    info = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}

    assert read_answers({}, info).rootless is True
    assert read_answers({}, {"SecurityOptions": ["name=seccomp"]}).rootless is False
    assert read_answers({}, {}).rootless is None


@pytest.mark.parametrize(
    "info",
    [
        {"Runtimes": None, "CDISpecDirs": None, "SecurityOptions": None},
        {"Runtimes": [], "CDISpecDirs": {}, "DiscoveredDevices": {}},
        {"CDISpecDirs": [1], "DiscoveredDevices": [{}, 2, {"ID": 3}]},
    ],
)
def test_answers_of_another_shape_are_no_answers(info: dict[str, Any]) -> None:
    answers = read_answers({"Version": 3, "Components": "x"}, info)

    assert replace(answers, cdi_devices=None, rootless=None) == Answers(
        "docker", "", None, (), (), None
    )
    assert not answers.cdi_devices


def test_the_toolkits_own_setup_is_a_device_request() -> None:
    answers = constructed("docker-toolkit")
    devices = answers.cdi_devices or ()

    attach, reason = choose_attach(answers, devices, SERVER, has_hook=False)

    assert len(devices) == 3
    assert all(name.startswith("nvidia.com/gpu=") for name in devices)
    assert (attach, reason) == (
        Attach.DEVICE_REQUEST,
        "the engine has the runtime `nvidia`",
    )


def test_podman_is_known_by_its_name_and_not_by_its_version() -> None:
    answers = constructed("podman-5.4")

    assert (answers.engine, answers.version) == ("podman", "5.4.0")
    assert answers.rootless is True
    assert answers.cdi_devices is None
