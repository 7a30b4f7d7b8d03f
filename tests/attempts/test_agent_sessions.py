"""Which session an attempt goes on in, by the end of the one before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from orchestrator.attempts.agent.sessions import LastEnd, carried_over, session_is_gone, session_of, words_for
from orchestrator.workers.protocol import AgentReport, AttemptClass, Capture, Outcome, Usage

INTERRUPTED = {"timeout", "stalled", "lost", "cancelled", "usage_limit", "rate_limit", "overloaded", "network", "turns", "memory"}
INTERRUPTED |= {"shortage", "not_begun", "state_error"}  # of room for one more process, on the disk
UNCHECKED = {"check_failed", "bad_output"}


def last(attempt_class: str = "timeout", folder: str = "/here", **report: Any) -> LastEnd:
    told = AgentReport(**{"agent": "claude", "session_id": "s-1", **report})
    outcome = Outcome(
        attempt_class=AttemptClass(attempt_class), started_at=0.0, finished_at=1.0, duration_seconds=1.0, agent=told
    )
    return LastEnd(outcome, folder)


@pytest.mark.parametrize("attempt_class", [each.value for each in AttemptClass])
def test_a_session_goes_on_after_what_only_interrupted_it_and_after_a_failed_check(attempt_class: str) -> None:
    before = last(attempt_class)
    found = session_of(before, agent="claude", folder="/here", can_resume=True)
    assert (found is not None) == (attempt_class in INTERRUPTED | UNCHECKED)
    expected = "prompt" if found is None else "retry" if attempt_class in UNCHECKED else "resume"
    assert words_for(before, found) == expected


def killed(exit_code: int | None, signal: int | None, **report: Any) -> LastEnd:
    before = last("agent_failed", **report)
    return LastEnd(msgspec.structs.replace(before.outcome, exit_code=exit_code, signal=signal), before.folder)


@pytest.mark.parametrize(("exit_code", "signal"), [(None, 9), (None, 11), (137, None), (143, None)])
def test_a_session_goes_on_once_after_its_agent_was_killed_by_somebody_else(exit_code: int | None, signal: int | None) -> None:
    before = killed(exit_code, signal)
    found = session_of(before, agent="claude", folder="/here", can_resume=True)
    assert found is not None
    assert words_for(before, found) == "resume"
    again = killed(exit_code, signal, is_resumed=True)
    assert session_of(again, agent="claude", folder="/here", can_resume=True) is None, "perhaps it is the session that kills it"


def test_a_session_of_an_agent_that_failed_by_itself_does_not_go_on() -> None:
    assert session_of(killed(1, None), agent="claude", folder="/here", can_resume=True) is None


@pytest.mark.parametrize(
    ("before", "agent", "folder", "can_resume"),
    [
        (None, "claude", "/here", True),
        (last(), "codex", "/here", True),
        (last(), "claude", "/there", True),
        (last(), "claude", "/here", False),
        (last(session_id=None), "claude", "/here", True),
    ],
    ids=["no attempt before", "another agent", "another folder", "it cannot or may not", "no session told"],
)
def test_a_session_is_begun_where_none_can_go_on(before: LastEnd | None, agent: str, folder: str, can_resume: bool) -> None:
    found = session_of(before, agent=agent, folder=folder, can_resume=can_resume)
    assert found is None
    assert words_for(before, found) == "prompt"


def test_what_a_session_told_before_is_known_to_the_attempt_that_goes_on() -> None:
    before = last(usage=Usage(input_tokens=5), usage_told=Usage(input_tokens=105), cost_usd=0.1, cost_told=0.7)
    found = session_of(before, agent="claude", folder="/here", can_resume=True)
    assert found is not None
    assert (found.session_id, found.usage_before, found.cost_before) == ("s-1", Usage(input_tokens=105), 0.7)


def test_an_attempt_that_was_lost_before_it_told_anything_keeps_the_sums_of_its_session() -> None:
    before = last(usage_told=Usage(input_tokens=100), cost_told=0.7)
    report = carried_over(last("lost").outcome, before).agent
    assert report is not None
    assert (report.usage_told, report.cost_told, report.usage, report.cost_usd) == (Usage(input_tokens=100), 0.7, None, None)


def test_sums_are_never_carried_to_another_session_or_over_what_was_told() -> None:
    before = last(usage_told=Usage(input_tokens=100), cost_told=0.7)
    other = last("lost", session_id="s-2").outcome
    assert carried_over(other, before) is other
    told = last("timeout", usage_told=Usage(input_tokens=130), cost_told=0.9).outcome
    assert carried_over(told, before) is told
    silent = msgspec.structs.replace(told, agent=None)
    assert carried_over(silent, before) is silent


@pytest.mark.parametrize("attempt_class", ["lost", "shortage"])
def test_a_session_survives_an_attempt_that_never_began(attempt_class: str) -> None:
    before = last(usage_told=Usage(input_tokens=100), cost_told=0.7)
    ended = carried_over(msgspec.structs.replace(last(attempt_class).outcome, agent=None), before)
    found = session_of(LastEnd(ended, "/here"), agent="claude", folder="/here", can_resume=True)
    assert found is not None
    assert (found.session_id, found.usage_before, found.cost_before) == ("s-1", Usage(input_tokens=100), 0.7)


@pytest.mark.parametrize(
    ("attempt_class", "report", "is_gone"),
    [
        ("agent_failed", {"is_resumed": True}, True),
        ("protocol_error", {"is_resumed": True, "usage": Usage(input_tokens=0, output_tokens=0), "cost_usd": 0.0}, True),
        ("agent_failed", {}, False),
        ("agent_failed", {"is_resumed": True, "usage": Usage(input_tokens=9)}, False),
        ("agent_failed", {"is_resumed": True, "cost_usd": 0.01}, False),
        ("agent_failed", {"is_resumed": True, "text": Capture(size=2, inline=b"no")}, False),
        ("timeout", {"is_resumed": True}, False),
    ],
)
def test_a_session_is_gone_if_it_failed_at_once_without_a_word(attempt_class: str, report: dict[str, Any], is_gone: bool) -> None:
    assert session_is_gone(last(attempt_class, **report).outcome) is is_gone
