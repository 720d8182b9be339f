"""Bad input: one clear message each; and no secret in any of them."""

import contextlib
import dataclasses
import json
import random
import re
import time
import traceback
from typing import Any, Final

import pytest
import yaml

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.recipe.environment import read_variables
from nvfp4_serve.recipe.foreign.detect import Form
from nvfp4_serve.recipe.foreign.document import recipe_data, recipe_text
from nvfp4_serve.recipe.foreign.read import LONGEST
from nvfp4_serve.recipe.foreign.types import Machine
from nvfp4_serve.recipe.lint import lint_file
from nvfp4_serve.recipe.schema import File
from nvfp4_serve.recipe.yaml_files import convert, parse_yaml
from recipe.foreign.samples import (
    COMPOSE,
    EUGR,
    FLAGS,
    SPARKRUN,
    VLLM_RECIPES,
    arguments,
    found,
    only,
    read,
)

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n"
    for i in range(8)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b" \n\t\n", "is empty", id="blank"),
        pytest.param(b"\x7fELF\x02\x01\x00\x00", "is no text", id="binary"),
        pytest.param(b"\xff\xfe\x41", "UTF-8", id="other-encoding"),
        pytest.param(b"a" * (LONGEST + 1), "is over 1 MiB", id="too-long"),
        pytest.param("model: [", "is no YAML", id="broken-yaml"),
        pytest.param("model: x\n---\nmodel: y\n", "is no YAML", id="two-documents"),
        pytest.param("model: !!python/object:os.system x", "none of the", id="tag"),
        pytest.param(BOMB, "more than 50,000 values", id="bomb"),
        pytest.param("a: &a {b: *a}", "more than 50,000|no YAML", id="cycle"),
        pytest.param("just words", "none of the formats", id="words"),
        pytest.param("- a\n- b\n", "none of the formats", id="list"),
        pytest.param("{", "is no YAML", id="half-json"),
        pytest.param("docker compose up", "starts no vLLM", id="no-server"),
        pytest.param("vllm bench serve --model a/b", "starts no vLLM", id="bench"),
        pytest.param("vllm serve", "names no model", id="no-model"),
        pytest.param("vllm serve /models/x", "no id on the Hub", id="folder"),
        pytest.param("vllm serve $MODEL", "no id on the Hub", id="unknown-variable"),
        pytest.param("vllm serve 'a", "cannot be read", id="open-quote"),
        pytest.param("services: [a]", "must be a mapping", id="compose-list"),
        pytest.param("services: {a: {image: nginx}}", "0 services", id="no-vllm"),
        pytest.param(
            "services: {a: {image: vllm/a}, b: {image: vllm/b}}", "2 serv", id="two"
        ),
        pytest.param("meta: {}\nvariants: {}", "has no `variants`", id="no-variants"),
        pytest.param(
            "model: a/b\nruntime: sglang\ncommand: x", "for `sglang`", id="sglang"
        ),
        pytest.param("model: a/b\ndefaults: [1]", "must be a mapping", id="defaults"),
        pytest.param("model: [a]\ndefaults: {}", "must be a text", id="model-list"),
        pytest.param(
            "model: a/b\nruntime: vllm\nmin_nodes: 0", "above 0", id="no-nodes"
        ),
        pytest.param(
            "python -m sglang.launch_server --model a/b", "SGLang", id="other-server"
        ),
        pytest.param('{"argv": [1]}', "no list of texts", id="argv"),
        pytest.param(
            '{"argv": ["vllm", "serve", "a/b"], "hardware": "mi300x"}',
            "no NVIDIA GPU",
            id="amd",
        ),
    ],
)
def test_says_what_is_wrong_with_the_text(text: str | bytes, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        read(text)

    assert caught.value.fix
    assert caught.value.exit_code == 30


def test_says_what_each_format_lacked() -> None:
    with pytest.raises(RecipeError) as caught:
        read("title: x\nbody: y\n")

    assert "it has body, title" in caught.value.problem
    assert [line.split()[0] for line in caught.value.evidence] == list(Form)


def test_a_bomb_is_refused_at_once() -> None:
    started = time.monotonic()

    with pytest.raises(RecipeError):
        read(BOMB)

    assert time.monotonic() - started < 5


TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWx"
SECRETS = {
    "token": TOKEN,
    "password": "correct-horse-battery",
    "key": "sk-" + "x1" * 12,
}


SAYS_IT = {
    "in-front": "HF_TOKEN=@@ vllm serve a/T-NVFP4",
    "exported": "export HF_TOKEN='@@'\nvllm serve a/T-NVFP4",
    "flag": "vllm serve a/T-NVFP4 --api-key @@",
    "twice": "vllm serve a/T-NVFP4 --api_key=@@ --seed @@",
    "misplaced": 'vllm serve a/T-NVFP4 --hf-token "@@" --not-a-flag @@',
    "docker": "docker run -e HF_TOKEN=@@ img:1 --model a/T-NVFP4",
    "in-an-error": "docker run -e VLLM_API_KEY=@@ 'img",
    "no-model": "vllm serve $(echo HF_TOKEN=@@)",
    "eugr": EUGR.replace("env:\n", "env:\n  HF_TOKEN: '@@'\n"),
    "hook": "model: a/T-NVFP4\nruntime: vllm\nenv: {MY_PASSWORD: @@}\n"
    "pre_exec: [login @@]\n",
    "broken-yaml": "model: a/T-NVFP4\nenv: {HF_TOKEN: @@}\n@@: [\n",
    "compose": "services:\n  a:\n    image: vllm/x:1\n    environment: [HF_TOKEN=@@]\n"
    "    command: [a/T-NVFP4, --api-key, @@]\n",
    "json": '{"argv": ["vllm", "serve", "a/T-NVFP4"], "env": {"API_KEY": "@@"}}',
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("text", SAYS_IT.values(), ids=SAYS_IT)
def test_a_secret_is_never_said_again(text: str, secret: str) -> None:
    said = everything_said(text.replace("@@", secret))

    assert said
    assert secret not in said


def everything_said(text: str) -> str:
    """Return all that the importer makes of ``text``: the recipe, or the error."""
    try:
        imported = read(text)
    except RecipeError as error:
        shown = "".join(traceback.format_exception(error))
        return f"{shown} {error.problem} {error.evidence} {error.fix}"
    data = json.dumps(recipe_data(imported), default=str)
    return f"{recipe_text(imported)} {data} {dataclasses.asdict(imported)}"


@pytest.mark.parametrize("name", ["flag", "docker", "eugr", "hook", "compose", "json"])
def test_that_a_secret_stands_in_the_text_is_said(name: str) -> None:
    imported = read(SAYS_IT[name].replace("@@", SECRETS["password"]))

    assert any(finding.id == "secret-in-text" for finding in imported.findings)


def test_a_reference_to_a_secret_is_no_secret() -> None:
    imported = read("docker run -e HF_TOKEN=$HF_TOKEN i:1 --model a/T-NVFP4")

    assert "HF_TOKEN" in only(imported, "variable-of-the-shell").message


@pytest.mark.parametrize("text", [SPARKRUN, EUGR, COMPOSE, VLLM_RECIPES])
def test_no_prefix_of_a_recipe_breaks_the_reader(text: str) -> None:
    for end in range(1, len(text), 7):
        with contextlib.suppress(RecipeError):
            assert read(text[:end]).model


@pytest.mark.parametrize(
    "note",
    [
        "# each token: context it costs",
        "# the key: context",
        "metadata: {eos_token: context, image_token: context}",
        "env: {VLLM_MAX_TOKENS: context}",
    ],
)
def test_words_of_the_field_are_no_secrets(note: str) -> None:
    imported = read(
        f"model: a/T-NVFP4\nruntime: vllm\n{note}\n"
        "command: vllm serve {model} --decode-context-parallel-size 2\n"
    )

    assert arguments(imported) == {"--decode-context-parallel-size": "2"}
    assert not found(imported, "secret-in-text")


def test_a_flag_that_repeats_a_secret_is_left_out_and_told() -> None:
    imported = read(
        "HF_TOKEN=some-secret vllm serve a/T-NVFP4 --seed 1 --quantization some-secret"
    )

    assert arguments(imported) == {"--seed": "1"}
    told = [finding.message for finding in found(imported, "secret-in-text")]
    assert any("`--quantization` repeats" in message for message in told)


#: What stands where something else is meant.
ODD: Final[tuple[Any, ...]] = (
    None, True, 1, -1, 2.5, "", "x", [], {}, ["a", "b"], {"a": 1}, [{"a": [1]}], [[]],
    "{x}", "{port}", "$X", "a\nb", {"when": 1},
)  # fmt: skip


def changed(value: Any, dice: random.Random) -> Any:
    """Return ``value`` with some of it replaced by something odd."""
    if dice.random() < 0.06:
        return dice.choice(ODD)
    if isinstance(value, dict):
        return {key: changed(below, dice) for key, below in value.items()}
    if isinstance(value, list):
        return [changed(below, dice) for below in value]
    return value


@pytest.mark.parametrize("text", [SPARKRUN, EUGR, COMPOSE, VLLM_RECIPES])
def test_whatever_stands_in_a_recipe_it_is_read_or_refused(text: str) -> None:
    dice = random.Random(9)  # noqa: S311 - the same changes every time
    machine = Machine("b300", "10.3", 8)
    results: list[object] = []
    for _ in range(150):
        odd = yaml.safe_dump(changed(yaml.safe_load(text), dice), sort_keys=False)
        try:
            made = recipe_text(read(odd, machine=machine))
        except RecipeError as error:
            results.append(error.fix)
        else:
            document = parse_yaml(made.encode(), "imported")
            faults = lint_file(convert(document, File), FLAGS.by_name, read_variables())
            results.append(list(faults) == [])

    assert all(results)
    assert True in results


def test_a_text_that_is_no_yaml_is_told_what_it_could_have_been() -> None:
    with pytest.raises(RecipeError, match="no YAML") as caught:
        read("# About\n\nSome words: [here\n")

    assert len(caught.value.evidence) == 1 + len(Form)


@pytest.mark.parametrize(
    "text",
    [
        "model: a/T-NVFP4\ndefaults: {x: '{y}'}\ncommand: vllm serve {model} {x}\n",
        "model: a/T-NVFP4\ndefaults: {host: {a: 1}}\n",
        "model: a/T-NVFP4\ndefaults: {kv_cache_dtype: {}}\n",
    ],
)
def test_an_odd_value_is_told(text: str) -> None:
    assert read(text).findings


def test_what_is_no_name_of_a_secret_is_kept() -> None:
    imported = read(
        "vllm serve a/T-NVFP4 --max-num-batched-tokens 8192 --tokenizer-mode auto "
        "--speculative-config '{\"num_speculative_tokens\": 1234}'"
    )

    assert re.findall(r"\b(?:8192|1234)\b", recipe_text(imported)) == ["8192", "1234"]
