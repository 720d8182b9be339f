"""What the calibration file says is what the model sees, or the file is refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nvfp4_serve.quantize.calibration import (
    RefusedError,
    make_samples,
    read_calibration,
)
from nvfp4_serve.quantize.make import WORKER

_RUN = """
import runpy, sys
sys.path.insert(0, sys.argv[2])
runpy.run_path(sys.argv[3], run_name="__main__")
"""


class Letters:
    """A tokenizer: a token for each letter."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, messages: list[Any], *, tokenize: bool) -> str:
        assert not tokenize
        return "".join(message["content"] for message in messages)


def samples(path: Path, **changes: int) -> list[str]:
    order = {"calibration": str(path), "calib_samples": 8, "calib_length": 64}
    order |= changes
    found = make_samples(read_calibration(order), Letters(), order)
    return ["".join(map(chr, sample)) for sample in found]


def written(folder: Path, data: bytes, name: str = "text.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x85", "\x0c"])
def test_a_line_ends_where_json_lines_say_so(tmp_path: Path, letter: str) -> None:
    lines = [json.dumps({"text": f"a{letter}b"}, ensure_ascii=False), '"c"']
    path = written(tmp_path, "\r\n".join(lines).encode())

    assert samples(path) == [json.loads(lines[0])["text"], "c"]


def test_empty_samples_are_left_out_before_they_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"text": ""}\n\n""\n{"messages": []}\n"a"\n"b"\n"c"\n')

    assert samples(path, calib_samples=2) == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "name"),
    [(b'{"text": ""}\n""', "a.jsonl"), (b"", "a.jsonl"), (b"", "a.txt")],
)
def test_a_file_without_text_is_refused(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(RefusedError, match="holds no text"):
        samples(written(tmp_path, data, name))


def test_a_text_is_cut_into_pieces_spread_over_it(tmp_path: Path) -> None:
    path = written(tmp_path, b"aabbccddeef", "a.txt")

    assert samples(path, calib_samples=3, calib_length=2) == ["aa", "cc", "ee"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'"a"\n{"text": "b"\n', "Line 2 of .*text.jsonl` is no JSON"),
        (b'"a"\n\n{"words": "b"}\n', "Line 3 of .*text.jsonl` has no text"),
        (b'"a"\n"\xe9"\n', "not UTF-8: line 2 has the byte 0xe9"),
        (b'{"messages": [{"role": "user"}]}', "messages in line 1 .* chat template"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    path = written(tmp_path, data)

    with pytest.raises(RefusedError, match=says) as caught:
        samples(path)

    assert str(path) in caught.value.problem
    assert caught.value.fix


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert samples(written(tmp_path, b'\xef\xbb\xbf"a"')) == ["a"]


def test_the_worker_refuses_the_file_before_it_loads_the_model(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "modelopt" / "torch").mkdir(parents=True)
    (theirs / "torch.py").touch()
    (theirs / "modelopt" / "torch" / "quantization.py").touch()
    exporter = theirs / "modelopt" / "torch" / "export.py"
    exporter.write_text("export_hf_checkpoint = None")
    path = written(tmp_path, b'"a"\nnot JSON\n')
    order = {"model": "plain", "is_folder": True, "calibration": str(path)}

    done = subprocess.run(
        [sys.executable, "-I", "-c", _RUN, json.dumps(order), str(theirs), str(WORKER)],
        capture_output=True,
        text=True,
        check=False,
    )

    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert "loading the model" not in [fact.get("name") for fact in facts]
    assert facts[-1]["event"] == "failed"
    assert f"Line 2 of the calibration file `{path}`" in facts[-1]["problem"]
    assert "Mend or remove that line" in facts[-1]["fix"]
