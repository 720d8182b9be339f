"""Names and checkpoints that are made to do harm: none of them gets to."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nvfp4_serve.errors import ExitCode

#: Each starts the launcher once or twice.
pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "sonnet-18-nvfp4"
NAMES = ["foo;touch x", "$(touch x)", "`touch x`", "a\nb", "it's", 'a"b', "a b", "a:b"]


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the launcher in ``folder``; what it would start there would leave a trace."""
    return subprocess.run(
        [sys.executable, "-m", "nvfp4_serve", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    return shutil.copytree(EXAMPLE, tmp_path / "hostile")


@pytest.mark.parametrize(
    "model", ["--trust-remote-code", "-x", *NAMES, "org/--trust-remote-code", "../../x"]
)
def test_a_name_that_is_no_model_is_refused_as_one(tmp_path: Path, model: str) -> None:
    done = run(tmp_path, "plan", "--json", "--", model)

    assert done.returncode == ExitCode.CHECKPOINT
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_is_one_word_of_the_command(
    tmp_path: Path, name: str
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / name)

    plan = json.loads(run(tmp_path, "plan", "--json", "--", name).stdout)
    shell = run(tmp_path, "plan", "--shell", "--", name).stdout
    words = subprocess.run(
        ["bash", "-c", f"vllm() {{ printf '%s\\0' \"$@\"; }}\n{shell}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert plan["argv"][0] == str(tmp_path / name)
    assert words.split("\0")[:-1] == ["serve", *plan["argv"]]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["--trust-remote-code", "-x"])
def test_a_name_that_would_be_read_as_a_flag_is_refused(
    tmp_path: Path, hostile: Path, name: str
) -> None:
    hostile.rename(tmp_path / name)

    by_folder = run(tmp_path, "plan", "--", name)
    by_option = run(tmp_path, "plan", str(EXAMPLE), "--served-model-name", name)
    named = run(tmp_path, "plan", "--json", "--served-model-name", "x", "--", name)

    for done in (by_folder, by_option):
        assert done.returncode == ExitCode.USAGE
        assert f"served as '{name}', which vLLM reads as a flag" in done.stderr
    assert "--trust-remote-code" not in json.loads(named.stdout)["argv"]


@pytest.mark.parametrize("command", ["inspect", "plan"])
def test_code_that_comes_with_a_checkpoint_is_not_run(
    tmp_path: Path, hostile: Path, command: str
) -> None:
    config = json.loads((hostile / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (hostile / "config.json").write_text(json.dumps(config))
    (hostile / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")

    done = run(tmp_path, command, str(hostile))

    assert not (tmp_path / "ran").exists()
    if command == "plan":
        assert done.returncode == ExitCode.OK
        assert "--trust-remote-code" not in done.stdout


def test_code_of_a_checkpoint_is_the_users_to_trust(hostile: Path) -> None:
    words = ("plan", "--json", str(hostile))

    without = json.loads(run(hostile, *words).stdout)
    trusted = json.loads(run(hostile, *words, "--", "--trust-remote-code").stdout)

    assert "--trust-remote-code" not in without["argv"]
    assert "--trust-remote-code" in trusted["argv"]


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_an_index_cannot_name_files_outside_the_folder(
    hostile: Path, name: str
) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": name}}
    (hostile / "model.safetensors.index.json").write_text(json.dumps(index))

    done = run(hostile, "plan", str(hostile))

    assert done.returncode == ExitCode.CHECKPOINT
    assert "root:" not in done.stdout + done.stderr


def test_a_chat_template_without_end_is_never_rendered(hostile: Path) -> None:
    loop = "{% for i in range(10 ** 12) %}{{ i }}{% endfor %}"
    (hostile / "chat_template.jinja").write_text(loop)

    done = run(hostile, "plan", str(hostile))

    assert done.returncode == ExitCode.OK
