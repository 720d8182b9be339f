import pytest

from nvfp4_serve.runtime.container_failures import (
    pull_error,
    refused_limit,
    start_error,
)
from nvfp4_serve.runtime.containers import EngineRefusedError

OCI = "OCI runtime create failed: container_linux.go:380: starting container process "


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'could not select device driver "" with capabilities: [[gpu]]',
            "no way to give GPUs",
        ),
        (
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
            "finds no CDI device `nvidia.com/gpu=all`",
        ),
        ("unknown or invalid runtime name: nvidia", "does not know the runtime"),
        (
            (
                "nvidia-container-cli: requirement error: unsatisfied condition: "
                "cuda>=13.0, please update your driver"
            ),
            "needs CUDA 13.0, and the driver is too old",
        ),
        (
            "nvml error: driver/library version mismatch: unknown",
            "of different versions",
        ),
        (
            "Bind for 127.0.0.1:8000 failed: port is already allocated",
            "port was taken",
        ),
        (f"{OCI}caused: exec format error", "another kind of CPU"),
        (
            f'{OCI}caused: exec: "vllm": executable file not found in $PATH: unknown',
            "The image has no `vllm`",
        ),
        (
            "invalid mount config: bind source path does not exist: /data/x",
            "does not see the folder `/data/x`",
        ),
        ("mkdir /var/lib/docker/x: no space left on device", "disk is full"),
        ("something that nobody has seen", "cannot be started"),
    ],
)
def test_what_the_engine_says_of_a_start_is_explained(text: str, says: str) -> None:
    error = start_error("x", EngineRefusedError(500, text))

    assert says in error.problem
    assert error.evidence == (f"the engine says: {text}",)
    assert error.fix


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("manifest for a/b:1 not found: manifest unknown", "does not have the image"),
        (
            (
                "pull access denied for a/b, repository does not exist or may require "
                "'docker login'"
            ),
            "does not give the image to you, or does not have it",
        ),
        (
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            "not there for this machine's CPU",
        ),
        ("dial tcp: lookup r: no such host", "cannot be reached"),
        ("toomanyrequests: You have reached your pull rate limit", "no more for now"),
        ("write /x: no space left on device", "disk is full"),
        ("http: server gave HTTP response to HTTPS client", "does not speak HTTPS"),
    ],
)
def test_what_the_engine_says_of_a_pull_is_explained(text: str, says: str) -> None:
    error = pull_error("a/b:1", EngineRefusedError(0, text))

    assert error.problem.startswith("`a/b:1`: ")
    assert says in error.problem
    assert error.fix


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("error setting rlimit type 8: operation not permitted", "memlock"),
        (
            (
                "error setting rlimits for ready process: error setting rlimit type 7: "
                "operation not permitted"
            ),
            "nofile",
        ),
        ("error setting rlimit type 3: operation not permitted", "stack"),
        ("exec format error", None),
    ],
)
def test_a_limit_that_cannot_be_set_is_named(text: str, limit: str | None) -> None:
    assert refused_limit(EngineRefusedError(500, text)) == limit
