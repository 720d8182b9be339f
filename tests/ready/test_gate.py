import os
import signal
import threading
from pathlib import Path

import pytest

from nvfp4_serve.errors import EngineError, NotRightError
from nvfp4_serve.plan.types import Expect
from nvfp4_serve.ready.gate import wait_until_right
from stand_in import (
    CANARY,
    EXPECTED,
    NOTHING_EXPECTED,
    PROMPT,
    quiet,
    running,
    watched,
)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def ask_the_gate(
    *behaviour: str,
    expect: Expect = NOTHING_EXPECTED,
    canary: tuple[tuple[str, str], ...] = CANARY,
    seconds: float = 20.0,
    key: str | None = None,
) -> list[str]:
    said: list[str] = []
    with running(*behaviour) as (runtime, instance):
        wait_until_right(
            watched(runtime, instance, key),
            expect,
            canary,
            seconds=seconds,
            say=said.append,
        )
    return said


def test_a_right_engine_passes_and_every_phase_is_named_once() -> None:
    said = ask_the_gate()

    assert said == [
        "the architecture is StandIn",
        "the server answers",
        "asking it for one completion",
        "asking the canary 'Shall I compare'",
    ]


def test_an_engine_that_cannot_count_tokens_is_asked_for_enough_all_the_same() -> None:
    assert ask_the_gate("cannot-count")


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        pytest.param("nan", "log probabilities that are no numbers", id="nan"),
        pytest.param("minus-infinity", "that are no numbers", id="minus-infinity"),
        pytest.param("silent", "first completion is empty", id="silent"),
        pytest.param("wrong", "answers a canary wrong", id="wrong"),
    ],
)
def test_an_engine_whose_answers_are_not_right_is_refused(
    behaviour: str, says: str
) -> None:
    with pytest.raises(NotRightError, match=says):
        ask_the_gate(behaviour)


def test_a_wrong_answer_is_shown_beside_the_right_one_from_where_they_differ() -> None:
    with pytest.raises(NotRightError) as caught:
        ask_the_gate("wrong")

    at = EXPECTED.index("summer")
    assert f"from character {at + 1} on" in caught.value.problem
    assert 'expected: " thee to a summer\'s day?"' in caught.value.evidence
    assert "came:     \" thee to a winter's day?" in caught.value.evidence[-1]


def test_an_answer_that_breaks_off_before_the_end_is_not_right() -> None:
    with pytest.raises(NotRightError, match="canary wrong, from character 47"):
        ask_the_gate(
            canary=(
                (
                    "Shall I compare",
                    " thee to a summer's day? Thou art more lovely. And",
                ),
            )
        )


def test_of_a_canary_that_the_context_does_not_hold_the_beginning_is_compared() -> None:
    said = ask_the_gate("limit=7")  # The prompt takes 3 tokens, the answer 5.

    assert said[-1] == ("  compared 19 of its 24 characters: the context holds no more")


def test_a_beginning_that_is_wrong_is_not_right_in_a_short_context_either() -> None:
    with pytest.raises(NotRightError, match="canary wrong, from character 12"):
        ask_the_gate("wrong", "limit=7")


def test_an_answer_that_ends_by_itself_is_not_right_in_a_short_context_either() -> None:
    # The prompt takes 3 tokens and the expected text 12; it says 9 of them, and ends.
    expected = " thee to a summer's day? Thou art more lovely. And so on"

    with pytest.raises(NotRightError, match="canary wrong, from character 47"):
        ask_the_gate("limit=13", canary=((PROMPT, expected),))


def test_a_canary_without_room_for_an_answer_is_left_out_and_said_so() -> None:
    assert ask_the_gate("limit=4")[-1] == (
        "leaving out the canary 'Shall I compare': the context is too short for it"
    )


def test_a_context_without_room_for_any_question_is_said_so() -> None:
    with pytest.raises(EngineError, match="context of 1 tokens is too short") as caught:
        ask_the_gate("limit=1")

    assert "--max-model-len" in caught.value.fix


def test_a_log_without_an_expected_line_is_not_right() -> None:
    expect = Expect(log_must=("Using \\w+ for NVFP4",), log_must_not=(), canary=None)

    with pytest.raises(NotRightError) as caught:
        ask_the_gate(expect=expect)

    assert "missing: Using \\w+ for NVFP4" in caught.value.evidence


def test_a_log_of_another_kernel_than_the_planned_shows_which_it_is() -> None:
    planned = "Using 'FLASHINFER_TRTLLM' NvFp4 MoE backend"

    with pytest.raises(NotRightError) as caught:
        ask_the_gate("marlin", expect=Expect((planned,), (), canary=None))

    assert caught.value.evidence[:2] == (
        f"missing: {planned}",
        "it says: Using 'MARLIN' NvFp4 MoE backend",
    )


def test_a_log_with_a_forbidden_line_is_not_right() -> None:
    expect = Expect((), ("architecture: Stand",), canary=None)

    with pytest.raises(NotRightError) as caught:
        ask_the_gate(expect=expect)

    assert "Resolved architecture: StandIn" in caught.value.evidence[0]


def test_an_engine_that_crashes_shows_the_cause_and_not_its_wrapper() -> None:
    with pytest.raises(EngineError, match="ended with status 1") as caught:
        ask_the_gate("crashes")

    assert caught.value.evidence[0] == (
        "ValueError: 3 blocks of KV cache are not enough."
    )
    assert "engine.log" in caught.value.evidence[1]


def test_an_engine_that_is_killed_while_it_loads_is_noticed_at_once() -> None:
    with running("never-listens") as (runtime, instance):
        timer = threading.Timer(0.2, os.kill, (instance.pid, signal.SIGKILL))
        timer.start()

        with pytest.raises(EngineError, match="killed by signal 9"):
            wait_until_right(
                watched(runtime, instance),
                NOTHING_EXPECTED,
                (),
                seconds=60,
                say=quiet,
            )

        timer.join()


def test_an_engine_that_dies_of_the_question_has_ended_and_is_not_merely_wrong() -> (
    None
):
    with pytest.raises(EngineError, match="killed by signal 9"):
        ask_the_gate("dies-when-asked")


@pytest.mark.parametrize("behaviour", ["never-healthy", "never-listens"])
def test_an_engine_that_is_not_ready_in_time_is_not_waited_for(behaviour: str) -> None:
    with pytest.raises(EngineError, match=r"not ready within 0 s") as caught:
        ask_the_gate(behaviour, seconds=0.4)

    assert "--ready-timeout" in caught.value.fix


def test_an_engine_that_never_completes_a_prompt_is_not_waited_for() -> None:
    with pytest.raises(EngineError, match="does not complete a prompt: no answer"):
        ask_the_gate("hangs", seconds=1.0)


def test_the_key_of_a_guarded_engine_is_shown_to_it() -> None:
    assert ask_the_gate("wants-key", key="sesame")

    with pytest.raises(NotRightError, match="with status 401"):
        ask_the_gate("wants-key")
