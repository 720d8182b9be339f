"""The patch ``w4a16-experts-without-input-scales``: the bug without it and with it."""

from __future__ import annotations

import pytest

from patches.probing import BugPresentError, Probes

pytestmark = pytest.mark.engine


@pytest.mark.xfail(strict=True, raises=BugPresentError, reason="vLLM 0.32.0 has it")
def test_the_published_vllm_does_not_have_the_bug(probes: Probes) -> None:
    probes.require_right("pristine", "w4a16_experts_without_input_scales")


def test_the_patched_vllm_does_not_have_the_bug(probes: Probes) -> None:
    probes.require_right("patched", "w4a16_experts_without_input_scales")
