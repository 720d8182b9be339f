import re
from typing import Final

import pytest

from engines import engine_python
from hosts import cpu_host, gpu, gpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import CheckpointError
from nvfp4_serve.finding import Finding, Severity
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.plan.scales import SCALED_WRONGLY

DIFFER: Final = Finding(
    "global-scales-differ", Severity.WARNING, "`up` is 1 and `gate` 2", "Export again."
)
GPU: Final = gpu_host(gpu())


def test_a_gpu_is_not_given_what_it_would_scale_wrongly() -> None:
    with pytest.raises(CheckpointError, match="answer wrongly") as caught:
        make_plan(layout(findings=(DIFFER,)), GPU, Request(), knowledge())

    assert caught.value.evidence == (DIFFER.message,)
    assert DIFFER.fix in caught.value.fix


def test_a_cpu_keeps_each_scale_and_serves_it() -> None:
    assert make_plan(
        layout(findings=(DIFFER,)), cpu_host(), Request(), knowledge()
    ).argv


def test_what_was_not_read_beforehand_must_not_show_in_the_log_of_a_gpu() -> None:
    def patterns(plan: Plan) -> set[str]:
        return set(plan.expect.log_must_not)

    assert patterns(make_plan(layout(), GPU, Request(), knowledge())) >= set(
        SCALED_WRONGLY
    )
    on_cpu = patterns(make_plan(layout(), cpu_host(), Request(), knowledge()))
    assert not on_cpu & set(SCALED_WRONGLY)


@pytest.mark.engine
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("modelopt.py", r"must match w3_weight_scale_2"),
        ("modelopt.py", r"the global weight scale differs"),
        ("compressed_tensors_moe_w4a4_nvfp4.py", r"must match w3_weight_global_scale"),
        ("compressed_tensors_w4a4_nvfp4.py", r"the weight global scale is different"),
    ],
)
def test_the_engine_still_says_it_in_these_words(file: str, words: str) -> None:
    site = engine_python().parents[1]
    (source,) = site.glob(f"lib/python3.*/site-packages/vllm/**/{file}")
    (said,) = re.findall(rf'"([^"]*{words}[^"]*)"', source.read_text())

    assert any(re.search(pattern, said) for pattern in SCALED_WRONGLY)
