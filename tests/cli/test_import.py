"""``nvfp4-serve import``: what it prints, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import ExitCode, RecipeError, UsageError
from nvfp4_serve.recipe.load import load_recipe_file
from recipe.foreign.samples import EUGR, SPARKRUN, VLLM_RECIPES

HOSTS = Path(__file__).parents[1] / "data/hosts"
GOOD = (
    f"docker run -p 127.0.0.1:8000:8000 vllm/vllm-openai:v1@sha256:{'a' * 64} "
    f"--model acme/Tiny-NVFP4 --revision {'b' * 40} --kv-cache-dtype fp8"
)


def run(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(
        commands,
        ["import", *words],
        input=stdin,
        catch_exceptions=False,
        standalone_mode=False,
    )


def test_prints_the_recipe_to_stdout_and_what_was_found_to_stderr() -> None:
    result = run("-", "--gpu", "12.1x1", stdin=GOOD)

    assert result.return_value == ExitCode.OK
    assert result.stdout == (
        "schema: nvfp4-serve/recipe/v1\n"
        "id: tiny-nvfp4\n"
        "model:\n"
        "  id: acme/Tiny-NVFP4\n"
        f"  revision: {'b' * 40}\n"
        '  source: "stdin, imported (command)"\n'
        "status: imported\n"
        "variants:\n"
        "  - id: sm121x1\n"
        "    when:\n"
        '      compute_capability: ["12.1"]\n'
        '      gpus: ">=1"\n'
        "      nodes: 1\n"
        "    args:\n"
        "      --kv-cache-dtype:\n"
        "        value: fp8\n"
        '        why: "As in the imported recipe."\n'
        '        source: "stdin:1"\n'
        "    env: {}\n"
        "    notes:\n"
        '      - "It was translated from another format; nobody has run it as it is '
        'here."\n'
        f'      - "The source runs it in the image vllm/vllm-openai:v1@sha256:'
        f'{"a" * 64}."\n'
    )
    assert result.stderr == (
        "stdin: command, 1 flags and 0 variables taken over; "
        "0 errors, 0 warnings, 0 notes\n"
    )


def test_ends_with_30_where_something_must_be_mended_first() -> None:
    result = run("-", stdin=EUGR)

    assert result.return_value == ExitCode.RECIPE
    assert "error: stdin:" in result.stderr
    assert "4 flags are lost" in result.stderr
    assert result.stdout.startswith("schema: nvfp4-serve/recipe/v1\n")


@pytest.mark.parametrize("text", [SPARKRUN, EUGR, GOOD])
def test_the_file_that_it_writes_is_a_recipe(text: str, tmp_path: Path) -> None:
    source = tmp_path / "foreign.yaml"
    source.write_text(text)
    made = tmp_path / f"tiny{'-30b' if 'model: ' in text else ''}-nvfp4.yaml"

    result = run(str(source), "-o", str(made))

    assert result.stdout == ""
    (recipe,) = load_recipe_file(made)
    assert recipe.status == "imported"
    assert recipe.model_id.startswith("acme/Tiny")


def test_one_json_object_has_the_recipe_and_the_findings() -> None:
    result = run("-", "--json", stdin=EUGR)

    data = json.loads(result.stdout)
    assert data["format"] == "eugr"
    assert data["image"] == "vllm-node"
    assert data["recipe"]["variants"][0]["args"]["--tensor-parallel-size"]["value"] == 2
    assert data["findings"][0]["id"] == "command-ends-early"
    assert data["findings"][0]["severity"] == "error"


@pytest.mark.parametrize(
    ("words", "capability", "gpus"),
    [
        (("--gpu", "b300"), "10.3", ">=8"),
        (("--gpu", "10.3x8"), "10.3", ">=8"),
        (("--facts", str(HOSTS / "b300x8.json")), "10.3", ">=8"),
        (("--gpu", "12.1", "--nodes", "2"), "12.1", ">=1"),
    ],
)
def test_the_machine_can_be_named(
    words: tuple[str, ...], capability: str, gpus: str
) -> None:
    data = json.loads(run("-", "--json", *words, stdin=VLLM_RECIPES).stdout)

    when = data["recipe"]["variants"][0]["when"]
    assert when["compute_capability"] == [capability]
    assert when["gpus"] == gpus


@pytest.mark.parametrize(
    "words",
    [
        ("--gpu", "blackwell"),
        ("--gpu", "12.1x0"),
        ("--gpu", "12.1x1", "--facts", str(HOSTS / "gb10.json")),
    ],
)
def test_a_machine_must_be_named_once_and_well(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        run("-", *words, stdin=GOOD)

    assert caught.value.fix


@pytest.mark.parametrize("path", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_told(path: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        run(str(tmp_path / path))


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be written"):
        run("-", "-o", str(tmp_path / "no/such.yaml"), stdin=GOOD)


def test_a_format_that_is_named_is_not_guessed() -> None:
    with pytest.raises(RecipeError, match="starts no vLLM"):
        run("-", "--format", "command", stdin=SPARKRUN.replace("vllm serve", "echo"))


def test_fifty_megabytes_of_junk_cost_nothing(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    with junk.open("wb") as file:
        file.truncate(50 << 20)

    with pytest.raises(RecipeError, match="over 1 MiB"):
        run(str(junk))


def test_a_pipe_works_and_an_empty_one_is_told() -> None:
    command = [sys.executable, "-m", "nvfp4_serve", "import", "-"]

    good = subprocess.run(
        command, input=GOOD.encode(), capture_output=True, check=False
    )
    empty = subprocess.run(command, input=b"", capture_output=True, check=False)

    assert good.returncode == 0
    assert good.stdout.startswith(b"schema: ")
    assert empty.returncode == ExitCode.RECIPE
    assert empty.stderr == (
        b"error: stdin is empty.\nhint: Give a recipe or a command.\n"
    )


def known_bad(result: Result) -> dict[str, str]:
    """Return the rows of the known-bad list that are told, and how severely."""
    prefix = "known-bad:"
    return {
        found["id"].removeprefix(prefix): found["severity"]
        for found in json.loads(result.stdout)["findings"]
        if found["id"].startswith(prefix)
    }


IMAGE = f"docker run vllm/vllm-openai:{{}}@sha256:{'a' * 64} "


@pytest.mark.parametrize(
    ("text", "gpu", "told"),
    [
        pytest.param(
            "vllm serve LibertAIDAI/GLM-5.3-Flash-NVFP4",
            ["--gpu", "10.3x8"],
            {"glm-5.3-flash-libertaidai": "error"},
            id="checkpoint",
        ),
        pytest.param(
            "vllm serve acme/Tiny-NVFP4 --enable-sleep-mode",
            ["--gpu", "12.1x1"],
            {"sleep-mode-gb10": "error"},
            id="flag-on-a-gpu",
        ),
        pytest.param(
            "vllm serve acme/Tiny-NVFP4 --enable-sleep-mode",
            ["--gpu", "10.0x1"],
            {},
            id="flag-on-another-gpu",
        ),
        pytest.param(
            "vllm serve acme/Tiny-NVFP4 --enable-sleep-mode", [], {}, id="gpu-not-said"
        ),
        pytest.param(
            "vllm serve acme/Tiny-NVFP4 --moe-backend flashinfer-b12x -tp 2",
            ["--facts", str(HOSTS / "rtx-pro-6000x2.json")],
            {"b12x-with-parallel": "error", "pcie-all-reduce": "warning"},
            id="machine-from-a-file",
        ),
        pytest.param(
            IMAGE.format("v0.22.1") + "acme/Tiny-NVFP4",
            ["--gpu", "12.0x1"],
            {"marlin-sm12x-vllm-0.22": "warning"},
            id="version-of-the-image",
        ),
        pytest.param(
            IMAGE.format("v0.32.0") + "acme/Tiny-NVFP4",
            ["--gpu", "12.0x1"],
            {},
            id="our-own-version",
        ),
        pytest.param(
            IMAGE.format("deepseekv4-cu129") + "acme/Tiny-NVFP4",
            ["--gpu", "12.1x1"],
            {"image-cu129": "warning"},
            id="image",
        ),
        pytest.param(
            "docker run vllm/vllm-openai:latest acme/Tiny-NVFP4",
            [],
            {},
            id="told-already",
        ),
    ],
)
def test_what_is_known_to_go_badly_is_told(
    text: str, gpu: list[str], told: dict[str, str]
) -> None:
    result = run("-", "--json", *gpu, stdin=text)

    assert known_bad(result) == told


def test_a_row_that_says_what_the_source_runs_names_its_image() -> None:
    result = run("-", "--gpu", "12.0x1", stdin=IMAGE.format("v0.22.1") + "acme/T-FP4")

    assert result.return_value == ExitCode.OK
    assert "In the image `vllm/vllm-openai:v0.22.1@sha256:" in result.stderr


def test_what_is_known_not_to_work_must_be_mended_first() -> None:
    text = "vllm serve LibertAIDAI/GLM-5.3-Flash-NVFP4"

    assert run("-", stdin=text).return_value == ExitCode.RECIPE


def test_a_login_in_the_name_of_an_image_is_not_repeated() -> None:
    text = "docker run me:hunter2-secret@reg.example:5000/vllm/vllm-openai:v0.22.1 a/b"

    result = run("-", "--gpu", "12.1x1", stdin=text)

    assert "vllm/vllm-openai:v0.22.1" in result.stdout
    assert "hunter2" not in result.stdout + result.stderr
