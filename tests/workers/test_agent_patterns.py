"""Patterns of profiles, and texts that would keep them busy for ever."""

from __future__ import annotations

import json
import re

import pytest
from drivers.recorded_agents import reading_of

from orchestrator.workers.agents.failures import Failures
from orchestrator.workers.agents.lines import Lines
from orchestrator.workers.agents.patterns import END_CHARACTERS, find
from orchestrator.workers.agents.reset_times import reset_in_text
from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.protocol import AttemptClass
from orchestrator.workers.protocol.reading import ClassRule, EventRule, LineRule, Reading

LONG = "begin" + "x" * 4 * END_CHARACTERS + "end"
ALL_OF_IT = rf"(?s).{{{3 * END_CHARACTERS}}}"


def test_both_ends_of_a_long_text_are_seen_and_no_more() -> None:
    assert find(re.compile(r"\Abegin"), LONG)
    assert find(re.compile(r"end\Z"), LONG)
    assert not find(re.compile(ALL_OF_IT), LONG)
    assert find(re.compile(ALL_OF_IT), "x" * 3 * END_CHARACTERS) is None
    assert find(re.compile(rf"(?s)\A.{{{2 * END_CHARACTERS}}}\Z"), "x" * 2 * END_CHARACTERS)


def test_no_pattern_of_a_profile_sees_all_of_a_long_text() -> None:
    # Of an event's field, of a message's class, of a line, of a reset: each would cost the square of what an agent may write.
    event = EventRule(where={"type": ["end"]}, match={"text": ALL_OF_IT}, means="success")
    stream = AgentStream(Reading(events=[event]), lambda: 0.0)
    stream.feed(b'{"type":"end","text":"%s"}\n' % LONG.encode())
    assert not stream.has_ended
    failures = Failures(Reading(classes=[ClassRule(pattern=ALL_OF_IT, class_name="billing")]), lambda: 0.0)
    assert failures.class_in(LONG) is None
    assert list(Lines([LineRule(pattern=ALL_OF_IT, means="error")]).read(LONG)) == [LONG]
    assert reset_in_text(LONG, [re.compile(ALL_OF_IT + r"(?P<epoch>\d*)")], 0.0) is None


@pytest.mark.parametrize(
    "answer",
    [
        "[API Error: [401] Unauthorized]",
        'so far so\ngood[API Error: 400 {"details":[{"a":1}]}]\n',
        "[API Error: x]]",
        "[API Error: 5\n0]",
    ],
)
def test_an_error_of_qwen_with_brackets_in_it_is_no_answer(answer: str) -> None:
    assert _end_of_qwen(answer) is not AttemptClass.OK


def test_an_answer_of_qwen_that_only_tells_of_an_error_is_one() -> None:
    assert _end_of_qwen('The log has "[API Error: 401]" twice.') is AttemptClass.OK


def _end_of_qwen(answer: str) -> AttemptClass:
    stream = AgentStream(reading_of("qwen"), lambda: 0.0)
    event = {"type": "result", "subtype": "success", "is_error": False, "result": answer}
    stream.feed(json.dumps(event).encode() + b"\n")
    return stream.classify(exit_code=0, signal=None, ended_by=None, stderr=b"").attempt_class
