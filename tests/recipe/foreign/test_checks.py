"""What is wrong with a foreign recipe, and what is then not in ours."""

import json
import re

import pytest

from nvfp4_serve.finding import Severity
from nvfp4_serve.recipe.environment import read_variables
from nvfp4_serve.recipe.foreign.changes import (
    GONE,
    RENAMED,
)
from nvfp4_serve.recipe.foreign.document import recipe_data, recipe_text
from nvfp4_serve.recipe.foreign.types import Machine
from nvfp4_serve.recipe.lint import lint_file
from nvfp4_serve.recipe.schema import File
from nvfp4_serve.recipe.yaml_files import convert, parse_yaml
from recipe.foreign.samples import (
    COMPOSE,
    EUGR,
    FLAGS,
    SPARKRUN,
    arguments,
    environment,
    found,
    only,
    read,
)

SERVE = "vllm serve acme/Tiny-NVFP4 "
GB10 = Machine(None, "12.1", 1)


def test_a_misspelt_flag_is_not_taken_and_the_nearest_is_named() -> None:
    imported = read(f"{SERVE}--lod-format auto --seed 1")

    finding = only(imported, "flag-not-taken")
    assert finding.severity is Severity.ERROR
    assert "has no `--lod-format`; did you mean `--load-format`?" in finding.message
    assert arguments(imported) == {"--seed": "1"}


@pytest.mark.parametrize("name", GONE)
def test_every_flag_that_is_called_gone_is_gone(name: str) -> None:
    assert FLAGS.find(name) is None
    for other in re.findall(r"`(--[a-z-]+)", GONE[name]):
        assert FLAGS.find(other) is not None, other

    assert GONE[name] in only(read(f"{SERVE}{name} 1"), "flag-not-taken").message


@pytest.mark.parametrize("name", RENAMED)
def test_every_renamed_flag_leads_to_one_that_is_taken(name: str) -> None:
    new = RENAMED[name]
    flag = FLAGS.find(new.name)

    assert FLAGS.find(name) is None
    assert flag is not None
    assert (flag.takes_value == "no") == (new.switch is not None)
    imported = read(f"{SERVE}{name}" + (" 8" if new.switch is None else ""))
    assert set(arguments(imported)) == {new.name}
    assert found(imported, "flag-renamed")


def test_the_new_spelling_of_autotune_becomes_the_one_that_is_taken() -> None:
    imported = read(f"{SERVE}--disable-flashinfer-autotune")

    assert arguments(imported) == {"--enable-flashinfer-autotune": False}
    assert "`--no-enable-flashinfer-autotune`" in only(imported, "flag-renamed").message


def test_a_backend_that_is_not_offered_is_not_taken() -> None:
    imported = read(f"{SERVE}--moe-backend cutlass_typo")

    finding = only(imported, "flag-value-not-taken")
    assert "did you mean `cutlass`?" in finding.message
    assert arguments(imported) == {}


def test_a_switch_with_a_value_is_not_taken() -> None:
    imported = read(f"{SERVE}--enable-expert-parallel=true")

    assert "takes no value" in only(imported, "flag-value-not-taken").message


def test_of_two_values_the_last_counts_and_it_is_said() -> None:
    imported = read(f"{SERVE}--max_num_seqs 4 --max-num-seqs=8")

    assert arguments(imported) == {"--max-num-seqs": "8"}
    assert "disagrees" in only(imported, "flag-given-twice").message


def test_keys_one_by_one_win_over_the_object_and_it_is_said() -> None:
    imported = read(f"{SERVE}-cc.mode 3 --compilation-config '{{\"mode\": 0}}'")

    assert arguments(imported) == {"--compilation-config": {"mode": 3}}
    assert "disagrees" in only(imported, "flag-given-twice").message


def test_the_same_value_twice_is_nothing() -> None:
    assert not found(read(f"{SERVE}--seed 4 --seed 4"), "flag-given-twice")


def test_a_flag_without_its_value_is_told() -> None:
    imported = read(f"{SERVE}--max-num-seqs --seed 4")

    assert (
        "`--max-num-seqs` has no value" in only(imported, "word-out-of-place").message
    )


def test_json_that_is_none_is_not_taken() -> None:
    imported = read(
        f"{SERVE}--kernel-config '{{\\\"a\\\": false}}' --quantization '{{x'"
    )

    assert "`--kernel-config`" in only(imported, "value-no-json").message
    assert arguments(imported) == {"--quantization": "{x"}


def test_a_second_model_is_told() -> None:
    imported = read(f"{SERVE}other/Model --seed 4")

    assert "`other/Model`" in only(imported, "word-out-of-place").message


@pytest.mark.parametrize(
    "words",
    [
        "--moe-backend deep_gemm_mega_moe",
        '--speculative-config \'{"moe_backend":"deep_gemm_mega_moe"}\'',
        "--kernel-config.moe_backend deep_gemm_mega_moe",
    ],
)
def test_the_mega_kernel_with_nvfp4_blocks_the_recipe(words: str) -> None:
    imported = read(SERVE + words)

    assert only(imported, "mega-moe-with-nvfp4").severity is Severity.ERROR
    assert "deep_gemm_mega_moe" in recipe_data(imported)["variants"][0]["blocked"]


@pytest.mark.parametrize(
    "words",
    [
        '--attention-config \'{"indexer_kv_dtype": "mxfp4"}\'',
        "--attention_config.indexer_kv_dtype=mxfp4",
        "--attention-config.use_fp4_indexer_cache=True",
        "-ac.use_fp4_indexer_cache true",
    ],
)
def test_the_fp4_indexer_cache_is_an_error_on_gb10(words: str) -> None:
    imported = read(SERVE + words, machine=GB10)

    finding = only(imported, "fp4-indexer-cache")
    assert finding.severity is Severity.ERROR
    assert "sm_121" in finding.message
    assert recipe_data(imported)["variants"][0]["blocked"]


def test_the_fp4_indexer_cache_is_no_error_on_b300() -> None:
    imported = read(
        f"{SERVE}--attention-config.indexer_kv_dtype mxfp4",
        machine=Machine(None, "10.3", 8),
    )

    assert only(imported, "fp4-indexer-cache").severity is Severity.INFO
    assert "blocked" not in recipe_data(imported)["variants"][0]


def test_a_key_that_is_gone_blocks_the_recipe() -> None:
    imported = read(f"{SERVE}-ac '{{\"use_fp4_indexer_cache\": false}}'")

    assert "0.30" in only(imported, "key-not-taken").message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("VLLM_USE_FLASHINFER_MOE_FP4", "`--moe-backend"),
        ("VLLM_ATTENTION_BACKEND", "`--attention-backend"),
        ("VLLM_USE_B12X_MOE", "fork"),
        ("VLLM_MARLIN_USE_ATOMIC_AD", "did you mean `VLLM_MARLIN_USE_ATOMIC_ADD`?"),
    ],
)
def test_a_variable_that_vllm_does_not_read_is_left_out(name: str, says: str) -> None:
    imported = read(f"{name}=1 A_B=2 VLLM_MARLIN_USE_ATOMIC_ADD=1 {SERVE}")

    assert says in only(imported, "variable-dead").message
    assert environment(imported) == {"A_B": "2", "VLLM_MARLIN_USE_ATOMIC_ADD": "1"}


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("vllm/vllm-openai", "image-floating"),
        ("vllm/vllm-openai:latest", "image-floating"),
        ("vllm/vllm-openai:nightly", "image-floating"),
        ("vllm/vllm-openai:qwen38", "image-floating"),
        ("host:5000/x", "image-floating"),
        ("vllm/vllm-openai:v0.32.0", "image-without-digest"),
        ("x/y:2026060701", "image-without-digest"),
        ("x/y:v1@sha256:" + "a" * 64, None),
        ("x/y@sha256:" + "a" * 64, None),
    ],
)
def test_an_image_must_stay_what_it_is(image: str, kind: str | None) -> None:
    imported = read(f"docker run {image} --model acme/Tiny-NVFP4")

    kinds = {f.id for f in imported.findings if f.id.startswith("image")}
    assert kinds == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("words", "kind", "kept"),
    [
        ("", "revision-not-pinned", None),
        ("--revision main", "revision-not-a-commit", None),
        (f"--revision {'a1' * 20}", None, "a1" * 20),
    ],
)
def test_a_revision_must_be_a_commit(
    words: str, kind: str | None, kept: str | None
) -> None:
    imported = read(SERVE + words)

    kinds = {f.id for f in imported.findings if f.id.startswith("revision")}
    assert kinds == ({kind} if kind else set())
    assert recipe_data(imported)["model"]["revision"] == kept
    assert "--revision" not in arguments(imported)


@pytest.mark.parametrize(
    ("text", "severity"),
    [
        (f"{SERVE}--host 0.0.0.0", Severity.WARNING),
        (f"{SERVE}--host ::", Severity.WARNING),
        (SERVE, Severity.INFO),
        (f"{SERVE}--host 127.0.0.1", None),
        (f"{SERVE}--host 0.0.0.0 --api-key some-secret-key", None),
        ("docker run -p 8000:8000 i:1 --model a/NVFP4", Severity.WARNING),
        ("docker run -p 127.0.0.1:1:1 i:1 --model a/NVFP4 --host 0.0.0.0", None),
        ("docker run --network host i:1 --model a/NVFP4 --host 0.0.0.0",
         Severity.WARNING),
    ],
)  # fmt: skip
def test_a_server_for_everyone_is_told(text: str, severity: Severity | None) -> None:
    told = found(read(text), "public-bind")

    assert [f.severity for f in told] == ([severity] if severity else [])


def test_remote_code_is_never_in_a_recipe() -> None:
    imported = read(f"{SERVE}--trust-remote-code")

    assert found(imported, "remote-code")
    assert arguments(imported) == {}


def test_hooks_are_listed_and_never_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    mark = tmp_path_factory.mktemp("hooks") / "ran"
    text = (
        f"{SPARKRUN}pre_exec:\n  - touch {mark}\npost_exec:\n  - copy: {mark}\n"
        f"post_commands: touch {mark}\nmods: [mods/a, mods/b]\n"
    )

    told = found(read(text), "hooks-not-run")

    assert {f.message.split("`")[1] for f in told} == {
        "pre_exec", "post_exec", "post_commands", "mods",
    }  # fmt: skip
    assert any("mods/a; mods/b" in f.message for f in told)
    assert not mark.exists()


def test_nothing_of_a_command_is_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    mark = tmp_path_factory.mktemp("commands") / "ran"

    read(f"touch {mark}; X=$(touch {mark}) {SERVE} --seed `touch {mark}`")

    assert not mark.exists()


def test_a_placeholder_without_a_value_is_told_with_its_line() -> None:
    imported = read(SPARKRUN.replace("  port: 8000\n", ""))

    finding = only(imported, "placeholder-without-value")
    assert finding.message.startswith("recipe.yaml:18: `{port}`")


def test_a_value_that_only_a_shell_knows_is_not_taken() -> None:
    imported = read(f"{SERVE}--seed $SEED --max-num-seqs 4")

    assert "`--seed` is $SEED" in only(imported, "value-of-the-shell").message
    assert arguments(imported) == {"--max-num-seqs": "4"}


def test_what_does_not_belong_into_a_recipe_is_named_once() -> None:
    imported = read(
        f"NCCL_SOCKET_IFNAME=eth0 HF_HOME=/x {SERVE}--port 1 --served-model-name a b"
    )

    assert arguments(imported) == {}
    assert environment(imported) == {}
    assert "`--served-model-name a b`" in only(imported, "left-to-the-user").message
    assert "`HF_HOME`" in only(imported, "variables-of-the-machine").message


@pytest.mark.parametrize("text", [SPARKRUN, EUGR, COMPOSE])
def test_our_lint_finds_nothing_in_what_was_imported(text: str) -> None:
    document = parse_yaml(recipe_text(read(text)).encode(), "imported")

    faults = list(lint_file(convert(document, File), FLAGS.by_name, read_variables()))

    assert faults == []


def test_what_is_not_for_a_recipe_is_told_and_left_out() -> None:
    imported = read(
        f"VLLM_CACHE_ROOT=/x {SERVE}--chat-template x --load-format dummy --seed 1"
    )

    assert len(found(imported, "not-for-a-recipe")) == 3
    assert arguments(imported) == {"--seed": "1"}
    assert environment(imported) == {}


@pytest.mark.parametrize(
    "value",
    [
        "0.80", "007", "1e5", "-1", "yes", "no", "null", "~", "", " ", "a: b", "#x",
        "it's", 'a"b', "\\", "{x}", "[1]", "1_000", "12:30", "0x10", "2026-01-01",
        "é", "a\nb", "\u2028", "123456789012345678901", "a\x7fb", "*x", "&x", "!x",
    ],
)  # fmt: skip
def test_our_reader_takes_the_recipe_and_every_value_comes_back(value: str) -> None:
    imported = read(json.dumps(["vllm", "serve", "a/T-NVFP4", f"--seed={value}"]))

    document = parse_yaml(recipe_text(imported).encode(), "imported")
    row = convert(document, File).variants[0].args["--seed"]

    assert str(row.value) == value
