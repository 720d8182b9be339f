"""Everything that is refused before anything is loaded, installed or written."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from checkpoint.builders import NVFP4_CONFIG, Stored, modelopt_moe, write_checkpoint
from layouts import layout
from nvfp4_serve.checkpoint import read_checkpoint
from nvfp4_serve.cli.main import commands
from nvfp4_serve.errors import DoesNotFitError, ServeError, UsageError
from nvfp4_serve.quantize.recipes import RECIPES, REFUSED
from nvfp4_serve.quantize.space import packable, require_room
from nvfp4_serve.units import GIB


def quantize(*words: str | Path) -> None:
    CliRunner().invoke(
        commands,
        ["quantize", *map(str, words)],
        catch_exceptions=False,
        standalone_mode=False,
    )


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "calibration.txt"
    path.write_text("Shall I compare thee to a summer's day?")
    return path


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("NVFP4_AWQ_LITE_CFG", "no vLLM serves its pre-scaled weights"),
        ("NVFP4_SVDQUANT_DEFAULT_CFG", "vllm#45333"),
        ("NVFP4_MLP_WEIGHT_ONLY_CFG", "blocks of 32"),
        ("NVFP4_KV_CFG", "no weight"),
        ("NVFP4_DEFUALT_CFG", "Did you mean `NVFP4_DEFAULT_CFG`"),
        ("FP8_DEFAULT_CFG", "that writes NVFP4"),
    ],
)
def test_a_recipe_that_cannot_be_served_is_refused_and_the_others_named(
    tmp_path: Path, recipe: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        quantize("model", tmp_path / "out", "--recipe", recipe)

    assert caught.value.evidence == tuple(RECIPES)
    assert not set(RECIPES) & set(REFUSED)


def test_an_out_that_is_there_is_never_written_over(tmp_path: Path, text: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        quantize("model", tmp_path, "--calib", text)


def test_an_out_in_no_folder_is_refused(tmp_path: Path, text: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        quantize("model", tmp_path / "no" / "out", "--calib", text)


@pytest.mark.parametrize(
    "words", [[], ["--recipe", "W4A16_NVFP4_CFG", "--kv-cache", "fp8"]]
)
def test_scales_of_activations_are_never_set_without_text(
    tmp_path: Path, words: list[str]
) -> None:
    with pytest.raises(UsageError, match="there is no text") as caught:
        quantize("model", tmp_path / "out", *words)

    assert "--calib FILE" in caught.value.fix


def test_a_calibration_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.txt` is no file"):
        quantize("model", tmp_path / "out", "--calib", tmp_path / "missing.txt")


def test_a_quantized_model_is_not_quantized_again(tmp_path: Path, text: Path) -> None:
    model = write_checkpoint(
        tmp_path / "model", modelopt_moe(), quantization=NVFP4_CONFIG
    )

    with pytest.raises(UsageError, match="quantized already"):
        quantize(model, tmp_path / "out", "--calib", text)

    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("disk", "memory", "says"),
    [(GIB, 999 * GIB, "The disk"), (999 * GIB, 60 * GIB, "too little memory")],
)
def test_what_cannot_fit_is_refused_with_the_arithmetic(
    disk: int, memory: int, says: str
) -> None:
    model = layout(layout="unquantized", parameters=30_000_000_000)

    with pytest.raises(DoesNotFitError, match=says) as caught:
        require_room(model, packed=30_000_000_000, disk=disk, memory=memory)

    (line,) = caught.value.evidence
    assert "15.7 GiB" in line  # 30 B parameters of 4.5 bits


def test_what_fits_shows_its_arithmetic() -> None:
    model = layout(layout="unquantized", parameters=30_000_000_000)

    memory, disk = require_room(
        model, packed=29_000_000_000, disk=20 * GIB, memory=80 * GIB
    )

    assert "55.9 GiB for 30.0 B parameters" in memory
    assert "= 73.6 GiB; 80.0 GiB are available" in memory
    assert "15.2 GiB for 29.0 B parameters that may be packed" in disk
    assert "1.9 GiB for 1.0 B that stay in 16 bits" in disk
    assert "= 17.1 GiB; 20.0 GiB are free" in disk


@pytest.mark.parametrize(
    ("packed", "says"),
    [(29_000_000_000, "= 17.1 GiB"), (None, "55.9 GiB if nothing is packed")],
)
def test_a_disk_that_would_hold_it_all_packed_may_be_too_small(
    packed: int | None, says: str
) -> None:
    model = layout(layout="unquantized", parameters=30_000_000_000)

    with pytest.raises(DoesNotFitError, match="The disk") as caught:
        require_room(model, packed=packed, disk=16 * GIB, memory=80 * GIB)

    assert says in caught.value.evidence[0]


def test_what_a_recipe_packs_is_known_by_the_names(tmp_path: Path) -> None:
    plain: dict[str, Stored] = {
        "model.embed_tokens.weight": ("BF16", (384, 96)),
        "lm_head.weight": ("BF16", (384, 96)),
        "model.layers.0.input_layernorm.weight": ("BF16", (96,)),
        "model.layers.0.mlp.gate.weight": ("BF16", (4, 96)),
        "model.layers.0.self_attn.q_proj.weight": ("BF16", (64, 96)),
        "model.layers.0.mlp.experts.gate_up_proj": ("BF16", (4, 96, 32)),
    }
    checkpoint = read_checkpoint(str(write_checkpoint(tmp_path / "a", plain)))
    nameless = {"layers.0.w": plain["lm_head.weight"]}
    unknown = read_checkpoint(str(write_checkpoint(tmp_path / "b", nameless)))

    assert packable(checkpoint, RECIPES["NVFP4_DEFAULT_CFG"]) == 64 * 96 + 4 * 96 * 32
    assert packable(checkpoint, RECIPES["NVFP4_EXPERTS_ONLY_CFG"]) == 4 * 96 * 32
    assert packable(unknown, RECIPES["NVFP4_DEFAULT_CFG"]) is None


def test_every_refusal_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ServeError) as caught:
        quantize("model", tmp_path)

    assert caught.value.fix
