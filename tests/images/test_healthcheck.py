import pytest

from healthcheck import address


@pytest.mark.parametrize(
    ("words", "environment", "url"),
    [
        pytest.param(
            "nvfp4-serve MODEL", {}, "http://127.0.0.1:8000", id="nothing-said"
        ),
        pytest.param(
            "nvfp4-serve MODEL",
            {"NVFP4_SERVE_HOST": "0.0.0.0"},  # noqa: S104
            "http://127.0.0.1:8000",
            id="as-the-images-set-it",
        ),
        pytest.param(
            "nvfp4-serve MODEL --port 9000", {}, "http://127.0.0.1:9000", id="port"
        ),
        pytest.param(
            "docker-init -- nvfp4-serve MODEL --port=9000 --port=9001",
            {},
            "http://127.0.0.1:9001",
            id="the-last-port-holds",
        ),
        pytest.param(
            "vllm serve M --host 10.0.0.7", {}, "http://10.0.0.7:8000", id="one-address"
        ),
        pytest.param("vllm serve M --host ::", {}, "http://[::1]:8000", id="any-v6"),
        pytest.param(
            "vllm serve M --host fd00::7", {}, "http://[fd00::7]:8000", id="v6"
        ),
    ],
)
def test_the_server_is_asked_where_the_command_line_has_it_listen(
    words: str, environment: dict[str, str], url: str
) -> None:
    assert address(words.split(), environment) == f"{url}/health"
