import os

import pytest

from nvfp4_serve.cli.api_key import given_key, guard, makes_key
from orders import plan


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    # Set first, so that what `guard` sets is taken back.
    monkeypatch.setenv("VLLM_API_KEY", "x")
    monkeypatch.delenv("VLLM_API_KEY")


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:8000", "127.0.0.2:8000", "[::1]:8000", "localhost:8000"]
)
def test_no_key_is_made_where_only_this_machine_may_connect(
    bind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guard(plan(bind=bind))

    assert "VLLM_API_KEY" not in os.environ
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "[::]:8000", "spark.local:8000"])
def test_a_key_is_made_and_shown_once_where_others_may(
    bind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    is_told = makes_key(plan(bind=bind))
    guard(plan(bind=bind))

    assert is_told
    shown = capsys.readouterr()
    key = os.environ["VLLM_API_KEY"]
    assert len(key) >= 32
    assert (shown.err.count(key), shown.out) == (1, "")
    assert given_key() == key


def test_a_key_that_was_given_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "sesame")

    guard(plan(bind="0.0.0.0:8000"))

    assert os.environ["VLLM_API_KEY"] == "sesame"
    assert capsys.readouterr().err == ""


def test_that_no_key_is_wanted_must_be_said_and_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "")

    guard(plan(bind="0.0.0.0:8000"))

    assert os.environ["VLLM_API_KEY"] == ""
    assert "can be reached by others, and no key is wanted" in capsys.readouterr().err


def test_in_a_container_who_publishes_the_port_is_told_that_no_key_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guard(plan(bind="0.0.0.0:8000"), is_published=True)

    assert "VLLM_API_KEY" not in os.environ
    assert "whoever the published port lets in may ask" in capsys.readouterr().err
