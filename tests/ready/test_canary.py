import json
from pathlib import Path

import pytest

from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.ready.canary import read_canary


def test_gives_prompts_and_answers_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "canary.json"
    path.write_text(json.dumps({"b": " c", "a": " ü"}))

    assert read_canary(path) == (("b", " c"), ("a", " ü"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"\xff\xfe\xfd", "not JSON", id="no-text"),
        pytest.param(b"[" * 200_000, "nested too deeply", id="deep"),
        pytest.param(b'["a"]', "holds a list", id="list"),
        pytest.param(b"{}", "has 0 prompts", id="no-prompt"),
        pytest.param(b'{"a": "b", "a": "c"}', "twice", id="twice"),
        pytest.param(b'{"": "b"}', "a prompt is empty", id="empty-prompt"),
        pytest.param(b'{"a": ""}', "not a text", id="empty-answer"),
        pytest.param(b'{"a": {"b": "c"}}', "not a text", id="answer-no-text"),
        pytest.param(b" " * (1 << 20) + b"{}", "larger than", id="large"),
        pytest.param(
            json.dumps({str(n): "x" for n in range(65)}).encode(),
            "has 65 prompts",
            id="many",
        ),
    ],
)
def test_says_what_is_wrong_with_a_bad_file(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "canary.json"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=says) as caught:
        read_canary(path)

    assert str(path) in caught.value.problem
    assert "JSON object" in caught.value.fix


def test_a_file_that_cannot_be_read_is_a_fault_of_the_checkpoint(
    tmp_path: Path,
) -> None:
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_canary(tmp_path)
