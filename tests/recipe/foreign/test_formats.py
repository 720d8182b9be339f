"""Each foreign format: what is taken over, and from which line."""

import json

import pytest

from nvfp4_serve.errors import RecipeError
from nvfp4_serve.finding import Severity
from nvfp4_serve.recipe.foreign.detect import Form
from nvfp4_serve.recipe.foreign.document import machine_of, recipe_data
from nvfp4_serve.recipe.foreign.types import Machine
from nvfp4_serve.recipe.foreign.vllm_recipes import Asked
from recipe.foreign.samples import (
    COMPOSE,
    EUGR,
    SPARKRUN,
    VLLM_RECIPES,
    arguments,
    environment,
    found,
    only,
    read,
)

MTP2 = {"method": "mtp", "num_speculative_tokens": 2}


def test_a_recipe_of_sparkrun_becomes_flags() -> None:
    imported = read(SPARKRUN)

    assert imported.form is Form.SPARKRUN
    assert imported.model == "acme/Tiny-30B-NVFP4"
    assert imported.launch.revision == "0123456789abcdef0123456789abcdef01234567"
    assert arguments(imported) == {
        "--tensor-parallel-size": "2",
        "--gpu-memory-utilization": "0.8",
        "--speculative-config": MTP2,
        "--kv-cache-dtype": "fp8",
    }
    assert environment(imported) == {"VLLM_MARLIN_USE_ATOMIC_ADD": "1"}
    assert not [f for f in imported.findings if f.severity is not Severity.INFO]


def test_every_flag_names_the_line_that_it_stands_on() -> None:
    lines = SPARKRUN.splitlines()

    for argument in read(SPARKRUN).arguments:
        assert argument.spelt in lines[argument.line - 1]


def test_a_spark_has_one_gpu_so_two_are_two_nodes() -> None:
    assert machine_of(read(SPARKRUN)) == Machine("gb10", "12.1", 1, 2)


def test_sparkrun_without_a_command_is_made_of_its_defaults() -> None:
    imported = read(
        "model: acme/Tiny-NVFP4\nruntime: vllm\ndefaults:\n  tensor_parallel: 2\n"
        "  enable_prefix_caching: true\n  enforce_eager: false\n"
        "  compilation_config: {mode: 3}\n  mine: 1\n"
    )

    assert arguments(imported) == {
        "--tensor-parallel-size": "2",
        "--enable-prefix-caching": True,
        "--enforce-eager": False,
        "--compilation-config": {"mode": 3},
    }
    assert "mine" in only(imported, "defaults-not-passed").message


@pytest.mark.parametrize(
    ("when", "machine", "holds"),
    [
        ("{nodes: 2}", Machine(nodes=2, gpus=1), True),
        ("{nodes: 2}", Machine(nodes=1, gpus=1), False),
        ("{nodes: {gte: 2}}", Machine(nodes=4, gpus=1), True),
        ("{arch: [sm_120, sm_121]}", Machine(None, "12.1", 1), True),
        ("{arch: sm_120}", Machine(None, "12.1", 1), False),
        ("{tp: 2}", Machine(None, "12.1", 1), True),
        ("{config: {speculator: none}}", Machine(None, "12.1", 1), False),
        ("{config: {speculator: {ne: none}}}", Machine(None, "12.1", 1), True),
        ("{colour: red}", Machine(None, "12.1", 1), False),
        ("{nodes: {near: 2}}", Machine(nodes=2, gpus=1), False),
    ],
)
def test_overrides_of_sparkrun_hold_as_it_says(
    when: str, machine: Machine, *, holds: bool
) -> None:
    text = (
        "model: acme/Tiny-NVFP4\nruntime: vllm\n"
        "defaults: {max_num_seqs: 4, tensor_parallel: 2}\noverrides:\n"
        f"  - when: {when}\n    defaults: {{max_num_seqs: 1}}\n    env: {{A_B: '1'}}\n"
    )

    imported = read(text, machine=machine)

    assert arguments(imported)["--max-num-seqs"] == ("1" if holds else "4")
    assert environment(imported) == ({"A_B": "1"} if holds else {})
    assert found(imported, "override-taken" if holds else "override-left-out")


def test_the_blank_after_a_backslash_is_mended_where_sparkrun_mends_it() -> None:
    imported = read(SPARKRUN.replace("{tensor_parallel} \\", "{tensor_parallel} \\ "))

    assert "--kv-cache-dtype" in arguments(imported)
    assert not found(imported, "command-ends-early")


def test_a_recipe_of_eugr_becomes_flags() -> None:
    imported = read(EUGR)

    assert imported.form is Form.EUGR
    assert arguments(imported) == {
        "--tensor-parallel-size": "2",
        "--speculative-config": {"method": "mtp", "num_speculative_tokens": 3},
    }
    assert machine_of(imported) == Machine("gb10", "12.1", 1, 2)


def test_an_empty_line_after_a_backslash_loses_flags_by_name_and_number() -> None:
    line = EUGR.splitlines().index("", 10) + 1

    lost = only(read(EUGR), "command-ends-early")

    assert lost.severity is Severity.ERROR
    assert lost.message == (
        f"recipe.yaml:{line}: this line ends the command (a blank line after a "
        "backslash): 4 flags are lost: --hf-overrides, --enable-prefix-caching, "
        "--tool-call-parser, --load-format."
    )


def test_mods_and_a_special_image_are_told_and_not_used() -> None:
    imported = read(EUGR)

    assert "mods/fix-tiny" in only(imported, "hooks-not-run").message
    assert "--pre-tf" in only(imported, "image-built-specially").message


def test_a_compose_file_gives_the_service_that_runs_vllm() -> None:
    imported = read(COMPOSE)

    assert imported.form is Form.COMPOSE
    assert imported.model == "acme/Tiny-30B-NVFP4"
    assert imported.launch.image == "vllm/vllm-openai:v0.32.0"
    assert arguments(imported) == {
        "--tensor-parallel-size": "2",
        "--kv-cache-dtype": "fp8",
    }
    assert environment(imported) == {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    assert machine_of(imported).gpus == 2
    assert "proxy" in only(imported, "services-not-read").message
    assert not found(imported, "public-bind")


@pytest.mark.parametrize(
    "command",
    [
        '["--model", "acme/T-NVFP4", "--seed", "7"]',
        '"acme/T-NVFP4 --seed 7"',
        "|\n      acme/T-NVFP4 \\\n\n      --seed 7",
        '["vllm", "serve", "acme/T-NVFP4", "--seed=7"]',
        '["bash", "-c", "vllm serve acme/T-NVFP4 --seed 7"]',
        (
            '["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", '
            '"acme/T-NVFP4", "--seed", "7"]'
        ),
    ],
)
def test_the_command_of_a_service_may_be_written_in_any_way(command: str) -> None:
    text = f"services:\n  a:\n    image: vllm/vllm-openai:v1\n    command: {command}\n"

    imported = read(text)

    assert imported.model == "acme/T-NVFP4"
    assert arguments(imported) == {"--seed": "7"}


def test_an_entrypoint_stands_in_front_of_the_command() -> None:
    imported = read(
        "services:\n  a:\n    image: registry.example/x/vllm:1\n"
        "    entrypoint: [vllm, serve]\n"
        "    command: [acme/T-NVFP4, --seed, '7']\n    environment: [A_B=1, C_D]\n"
    )

    assert arguments(imported) == {"--seed": "7"}
    assert environment(imported) == {"A_B": "1"}


def test_vllm_recipes_are_merged_in_the_order_of_their_layers() -> None:
    imported = read(VLLM_RECIPES, machine=Machine("b300", "10.3", 8))

    assert imported.form is Form.VLLM_RECIPES
    assert arguments(imported) == {
        "--kv-cache-dtype": "fp8",
        "--block-size": "256",
        "--tensor-parallel-size": "1",
        "--attention-config": {"use_fp4_indexer_cache": True},
        "--enable-auto-tool-choice": True,
        "--tool-call-parser": "hermes",
        "--speculative-config": {"method": "mtp"},
    }
    assert environment(imported) == {
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1",
        "NCCL_DEBUG": "WARN",
    }


def test_a_strategy_takes_the_place_of_the_layers_for_a_family() -> None:
    imported = read(
        VLLM_RECIPES,
        machine=Machine("b300", "10.3", 8),
        asked=Asked(None, "single_node_tep"),
    )

    assert arguments(imported)["--enable-expert-parallel"] is True
    assert arguments(imported)["--tensor-parallel-size"] == "8"
    assert arguments(imported)["--max-num-seqs"] == "8"
    assert "--attention-config" not in arguments(imported)


def test_two_machines_are_taken_where_one_has_too_little_memory() -> None:
    imported = read(VLLM_RECIPES, machine=Machine("dgx_spark_gb10", "12.1", 1))

    assert imported.launch.machine.nodes == 2
    assert arguments(imported)["--tensor-parallel-size"] == "2"


@pytest.mark.parametrize(
    ("machine", "says"),
    [
        (Machine(), "not said for which machine"),
        (Machine("rtx_5090", "12.0", 1), "needs 200 GB"),
    ],
)
def test_a_machine_of_vllm_recipes_must_be_named_and_big_enough(
    machine: Machine, says: str
) -> None:
    with pytest.raises(RecipeError, match=says):
        read(VLLM_RECIPES, machine=machine)


def test_machines_that_the_file_itself_finds_too_small_are_told() -> None:
    text = VLLM_RECIPES.replace("vram_minimum_gb: 200", "vram_minimum_gb: 300")

    two = read(text, machine=Machine("dgx_spark_gb10", "12.1", 1))
    three = read(text, machine=Machine("dgx_spark_gb10", "12.1", 1, nodes=3))

    assert "needs 300 GB" in only(two, "memory-too-small").message
    assert not found(three, "memory-too-small")
    assert arguments(three)["--tensor-parallel-size"] == "3"


def test_a_newer_vllm_is_a_condition_and_told() -> None:
    b300 = Machine("b300", "10.3", 8)
    newer = VLLM_RECIPES.replace("0.31.0", "0.34.0")

    assert not found(read(VLLM_RECIPES, machine=b300), "newer-vllm-needed")
    imported = read(newer, machine=b300)
    assert "0.34.0" in only(imported, "newer-vllm-needed").message
    assert recipe_data(imported)["variants"][0]["when"]["vllm"] == ">=0.34.0"


def test_the_variables_of_a_feature_are_taken_and_unknown_keys_are_told() -> None:
    text = VLLM_RECIPES.replace(
        "  tool_calling:\n", '  tool_calling:\n    env: {A_B: "1"}\n'
    ).replace("  base_args", "  frontend: rust\n  base_args")

    imported = read(text, machine=Machine("b300", "10.3", 8))

    assert environment(imported)["A_B"] == "1"
    assert "model.frontend" in only(imported, "keys-not-read").message


def test_flags_of_a_family_are_told_where_they_reach_another_kind_of_gpu() -> None:
    spark = read(VLLM_RECIPES, machine=Machine("dgx_spark_gb10", "12.1", 1))
    datacentre = read(VLLM_RECIPES, machine=Machine("b300", "10.3", 8))

    assert "use_fp4_indexer_cache" in only(spark, "family-is-no-gpu").message
    assert found(spark, "fp4-indexer-cache")[0].severity is Severity.ERROR
    assert not found(datacentre, "family-is-no-gpu")


def test_a_machine_that_one_name_fits_needs_no_name() -> None:
    imported = read(VLLM_RECIPES, machine=Machine(None, "12.1", 1))

    assert imported.launch.machine.name == "dgx_spark_gb10"


def test_a_rendered_command_is_read_from_json() -> None:
    argv = ["vllm", "serve", "acme/T-NVFP4", "--nnodes", "2", "--master-addr",
            "$HEAD_IP", "--a.b", "it's"]  # fmt: skip
    page = {
        "hf_id": "acme/T",
        "recommended_command": {
            "hardware": "dgx_spark_gb10",
            "node_count": 2,
            "env": {"NCCL_SOCKET_IFNAME": "$IFACE_NAME", "A_B": "1"},
            "docker_image": "vllm/vllm-openai:latest",
            "head_argv": argv,
        },
    }

    imported = read(json.dumps(page))

    assert imported.form is Form.VLLM_RECIPES
    assert imported.model == "acme/T-NVFP4"
    assert imported.launch.machine == Machine("dgx_spark_gb10", "12.1", 1, 2)
    assert environment(imported) == {"A_B": "1"}
    assert "$HEAD_IP" in only(imported, "value-of-the-shell").message


@pytest.mark.parametrize(
    "text",
    [
        "vllm serve acme/T-NVFP4 --seed 7",
        "$ vllm serve acme/T-NVFP4 --seed 7",
        "```bash\nvllm serve acme/T-NVFP4 \\\n  --seed 7\n```",
        "A_B=1 CUDA_VISIBLE_DEVICES=0 vllm serve acme/T-NVFP4 --seed=7",
        "sudo /opt/venv/bin/vllm serve --model acme/T-NVFP4 --seed 7",
        "python -m vllm.entrypoints.openai.api_server --model acme/T-NVFP4 --seed 7",
        "export M=acme/T-NVFP4\nvllm serve $M --seed ${N:=7} --seed 7",
        'M=acme/T-NVFP4; N=7\nvllm serve "$M" --seed ${N}',
        (
            "docker run --rm -it --gpus all -p 127.0.0.1:8000:8000 --ipc=host \\\n"
            "  -v ~/.cache:/root/.cache vllm/vllm-openai:v0.32.0 \\\n"
            "  --model acme/T-NVFP4 --seed 7"
        ),
        "docker run -d --entrypoint vllm img:1 serve acme/T-NVFP4 --seed 7",
        (
            "podman run img:1 bash -lc 'pip install x && exec vllm serve acme/T-NVFP4 "
            "--seed 7 2>&1 | tee log'"
        ),
        '["vllm", "serve", "acme/T-NVFP4", "--seed", "7"]',
        "nohup vllm serve acme/T-NVFP4 --seed 7 > log 2>&1 &",
    ],
)
def test_a_pasted_command_is_read_however_it_is_wrapped(text: str) -> None:
    imported = read(text)

    assert imported.form is Form.COMMAND
    assert imported.model == "acme/T-NVFP4"
    assert arguments(imported) == {"--seed": "7"}


def test_docker_gives_its_variables_and_image() -> None:
    imported = read(
        "export OUTSIDE=1\ndocker run -e A_B=1 --env=C_D=2 -eE_F=3 -e HOME_X "
        "--mount type=bind,source=/m,target=/n -v /o:/p:ro --cap-add X "
        "vllm/vllm-openai:v1 acme/T-NVFP4"
    )

    assert environment(imported) == {"A_B": "1", "C_D": "2", "E_F": "3"}
    assert imported.launch.image == "vllm/vllm-openai:v1"
    assert "--cap-add" in only(imported, "container-options-left-out").message


def test_dotted_flags_become_one_object() -> None:
    imported = read(
        "vllm serve a/B-NVFP4 --attention_config.backend X -cc.mode 3 "
        "--attention-config.a.b=true --attention-config.l+ 1,2"
    )

    assert arguments(imported) == {
        "--compilation-config": {"mode": 3},
        "--attention-config": {"backend": "X", "a": {"b": True}, "l": ["1", "2"]},
    }


def test_the_recipe_has_our_keys_and_says_where_it_is_from() -> None:
    data = recipe_data(read(SPARKRUN))

    assert data["id"] == "tiny-30b-nvfp4"
    assert data["status"] == "imported"
    (variant,) = data["variants"]
    assert variant["when"] == {
        "compute_capability": ["12.1"],
        "gpus": ">=1",
        "nodes": 2,
    }
    assert variant["args"]["--tensor-parallel-size"] == {
        "value": 2,
        "why": "As in the imported recipe, which writes `-tp`.",
        "source": "recipe.yaml:20",
    }
