"""Starts that go wrong in a way that no engine can be made to; the rest is real."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.container_start import Starter
from nvfp4_serve.runtime.containers import (
    Body,
    EngineGoneError,
    EngineRefusedError,
    File,
    Found,
    Image,
)
from orders import order


class LosesTheAnswer:
    """An engine that starts the container, and does not come to say so."""

    address = "unix:///s"

    def find_image(self, ref: str) -> Image | None:
        raise NotImplementedError

    def pull(self, ref: str) -> Iterator[Mapping[str, Any]]:
        raise NotImplementedError

    def create(self, name: str, body: Body) -> str:
        assert body["Image"]
        return f"id-of-{name}"

    def put(self, container: str, folder: str, files: Iterable[File]) -> None:
        assert container.startswith("id-of-")
        assert folder
        assert list(files)

    def start(self, container: str) -> None:
        raise EngineGoneError(f"no answer to the start of {container}")

    def find(self, container: str) -> Found | None:
        return None if container else self.list_ours()[0]

    def list_ours(self) -> tuple[Found, ...]:
        return ()

    def send(self, container: str, signal: str) -> None:
        raise NotImplementedError

    def set_restart(self, container: str, policy: str) -> None:
        raise NotImplementedError

    def remove(self, container: str) -> None:
        raise EngineRefusedError(409, f"cannot remove a running container {container}")

    def logs(self, container: str, *, follow: bool) -> Iterator[bytes]:
        raise NotImplementedError


def test_a_start_whose_answer_is_lost_is_not_said_to_have_left_nothing() -> None:
    starter = Starter(LosesTheAnswer(), print, order(), {})

    with pytest.raises(EngineError, match="was not seen to start") as caught:
        starter.run("x-8000-abcd", detached=False)

    assert "cannot remove a running container" in caught.value.evidence[0]
    assert "nvfp4-serve stop" in caught.value.fix
    assert "Nothing was left" not in caught.value.fix
