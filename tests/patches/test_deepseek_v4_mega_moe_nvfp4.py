"""The patch ``deepseek-v4-mega-moe-nvfp4``: the bug without it and with it."""

from __future__ import annotations

import pytest

from patches.probing import BugPresentError, Probes

pytestmark = pytest.mark.engine


@pytest.mark.xfail(strict=True, raises=BugPresentError, reason="vLLM 0.32.0 has it")
def test_the_published_vllm_does_not_have_the_bug(probes: Probes) -> None:
    probes.require_right("pristine", "deepseek_v4_mega_moe_nvfp4")


def test_the_patched_vllm_does_not_have_the_bug(probes: Probes) -> None:
    probes.require_right("patched", "deepseek_v4_mega_moe_nvfp4")
