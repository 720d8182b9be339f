"""What a registry may answer; the real one is asked in test_real_registry.py."""

import hashlib

import pytest

from registry import Index, RegistryError, UnreachableError, read_index
from stand_in_registry import BOTH, OCI, Answer, registry


def test_the_digest_is_that_of_the_content() -> None:
    with registry(Answer(200, BOTH)) as (repository, asked):
        found = read_index(repository, "v0.32.0")

    digest = f"sha256:{hashlib.sha256(BOTH).hexdigest()}"
    assert found == Index(digest, ("linux/amd64", "linux/arm64"))
    assert asked[0]["path"] == "/v2/vllm/vllm-openai/manifests/v0.32.0"
    assert OCI in asked[0]["Accept"]


def test_a_token_is_fetched_where_one_is_asked() -> None:
    challenge = (
        'Bearer realm="http://HERE/token",service="here",scope="repository:x:pull"'
    )
    refused = Answer(401, b"", {"WWW-Authenticate": challenge})
    token = Answer(200, b'{"token": "abc"}', {})
    with registry(refused, token, Answer(200, BOTH)) as (repository, asked):
        found = read_index(repository, "v0.32.0")

    assert found.platforms == ("linux/amd64", "linux/arm64")
    assert asked[1]["path"] == "/token?service=here&scope=repository%3Ax%3Apull"
    assert asked[2]["Authorization"] == "Bearer abc"


def test_a_token_that_is_refused_is_not_fetched_again() -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://HERE/token"'}
    refused = Answer(401, b"", challenge)
    token = Answer(200, b'{"access_token": "abc"}', {})
    with (
        registry(refused, token, refused) as (repository, _),
        pytest.raises(RegistryError, match="answers 401"),
    ):
        read_index(repository, "v0.32.0")


def test_a_registry_that_is_busy_is_asked_again() -> None:
    waits: list[float] = []
    answers = Answer(503), Answer(429), Answer(200, BOTH)
    with registry(*answers) as (repository, _):
        found = read_index(repository, "v0.32.0", wait=waits.append)

    assert found.platforms
    assert waits == [2.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(Answer(404), "answers 404", id="no-such-tag"),
        pytest.param(
            Answer(200, b"{}", {"Content-Type": "application/json"}),
            "is no multi-platform image",
            id="one-platform-only",
        ),
        pytest.param(
            Answer(
                200,
                BOTH,
                {"Content-Type": OCI, "Docker-Content-Digest": "sha256:" + "0" * 64},
            ),
            "and its content is sha256:",
            id="another-digest",
        ),
        pytest.param(Answer(200, b" " * (5 << 20)), "is larger than", id="too-large"),
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(answer: Answer, says: str) -> None:
    with (
        registry(answer) as (repository, _),
        pytest.raises(RegistryError, match=says),
    ):
        read_index(repository, "v0.32.0")


def test_no_answer_at_all_is_told_apart() -> None:
    with registry() as (repository, _):
        pass

    with pytest.raises(UnreachableError, match="cannot be reached"):
        read_index(repository, "v0.32.0", wait=lambda _: None)
