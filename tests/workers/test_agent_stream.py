"""How an agent's stream is read, rule by rule; what real streams come to is in test_agent_samples.py."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from orchestrator.workers.agents.lines import LONGEST_LINE_BYTES, Lines
from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol import AttemptClass, EndReason, Usage
from orchestrator.workers.protocol.reading import ClassRule, EventRule, LineRule, Reading

NOW = 1_000_000.0
DONE = EventRule(where={"type": ["done"]}, means="success")
FAILED = EventRule(where={"type": ["failed"]}, means="failure", take={"message": ["why"]})
RETRY = EventRule(
    where={"type": ["retry"]},
    means="retry",
    take={"message": ["why"], "resets_at": ["resets"], "resets_in": ["after"]},
    status="status",
)
WORD = EventRule(where={"type": ["word"]}, means="progress", take={"answer": ["text"]})
STATUSES = {"401": "auth", "429": "rate_limit", "500": "overloaded"}
CLASSES = [ClassRule(pattern="usage limit", class_name="usage_limit"), ClassRule(pattern="no money", class_name="billing")]
READING = Reading(
    events=[DONE, FAILED, RETRY, WORD],
    statuses=STATUSES,
    classes=CLASSES,
    patience={"overloaded": 3},
    resets=[r"back at (?P<epoch>\d+)"],
    exit_codes={"53": "turns"},
)


def stream_of(*events: dict[str, Any] | str, reading: Reading = READING) -> AgentStream:
    stream = AgentStream(reading, lambda: NOW)
    for event in events:
        stream.feed((event if isinstance(event, str) else json.dumps(event)).encode() + b"\n")
    return stream


def end(stream: AgentStream, code: int | None = 0, by: EndReason | None = None, stderr: bytes = b"") -> AgentTold:
    return stream.classify(exit_code=code, signal=None if code is not None else 9, ended_by=by, stderr=stderr)


def come_to(*events: dict[str, Any] | str, code: int | None = 0, stderr: bytes = b"", reading: Reading = READING) -> AttemptClass:
    return end(stream_of(*events, reading=reading), code, stderr=stderr).attempt_class


def retry(status: int, **more: Any) -> dict[str, Any]:
    return {"type": "retry", "status": status, "why": f"status {status}", **more}


def test_a_success_needs_its_terminal_event_and_exit_0() -> None:
    assert come_to({"type": "done"}) is AttemptClass.OK
    assert come_to({"type": "done"}, code=1) is AttemptClass.AGENT_FAILED
    assert come_to({"type": "word", "text": "all done"}) is AttemptClass.PROTOCOL_ERROR
    assert come_to() is AttemptClass.PROTOCOL_ERROR


def test_what_the_client_retried_and_got_is_past() -> None:
    assert come_to(retry(500), retry(500), {"type": "done"}) is AttemptClass.OK
    assert come_to(retry(429), {"type": "word"}, code=1) is AttemptClass.AGENT_FAILED
    assert come_to({"type": "word"}, retry(429), code=1) is AttemptClass.RATE_LIMIT
    assert come_to(retry(429)) is AttemptClass.RATE_LIMIT, "it gave up, with whatever exit code"


def test_a_failure_for_good_is_not_taken_back_by_a_success_after_it() -> None:
    error = EventRule(where={"type": ["error"]}, means="error", class_name="auth")
    reading = Reading(events=[DONE, error])
    assert come_to({"type": "error"}, {"type": "done"}, reading=reading) is AttemptClass.AUTH


def test_what_can_never_go_well_is_found_at_once_and_what_may_is_left_to_the_client_for_a_while() -> None:
    stream = stream_of(retry(401))
    assert stream.finding is not None
    assert stream.finding.attempt_class is AttemptClass.AUTH
    stream = stream_of(retry(500), retry(500))
    assert stream.finding is None
    stream.feed(json.dumps(retry(500)).encode() + b"\n")
    assert stream.finding is not None
    stream = stream_of(retry(500), retry(500), {"type": "word"}, retry(500), retry(500))
    assert stream.finding is None, "only failures in a row count"


def test_a_finding_that_was_acted_on_counts_though_the_client_went_on() -> None:
    stream = stream_of(retry(401), {"type": "word"}, {"type": "done"})
    assert stream.finding is None
    assert end(stream, 0, EndReason.FINDING).attempt_class is AttemptClass.AUTH


def test_the_clearest_word_counts_not_the_last() -> None:
    assert come_to(retry(429, why="usage limit reached"), {"type": "failed", "why": "sorry"}) is AttemptClass.USAGE_LIMIT
    assert come_to(retry(429), {"type": "failed", "why": "there is no money left"}) is AttemptClass.BILLING
    verdict = end(stream_of(retry(429, why="usage limit reached"), {"type": "failed"}), 1)
    assert verdict.message == "usage limit reached"


def test_words_say_more_than_a_status_and_a_class_of_the_rule_more_than_words() -> None:
    certain = EventRule(where={"type": ["failed"]}, means="failure", class_name="context", take={"message": ["why"]})
    event = {"type": "failed", "why": "usage limit", "status": 401}
    assert come_to(event) is AttemptClass.USAGE_LIMIT
    assert come_to(event, reading=Reading(events=[DONE, certain], classes=CLASSES)) is AttemptClass.CONTEXT


def test_maps_of_fields_give_classes_before_a_status_does() -> None:
    rule = EventRule(where={"type": ["failed"]}, means="failure", classes={"kind": {"quota": "billing"}}, status="status")
    reading = Reading(events=[DONE, rule], statuses=STATUSES)
    assert come_to({"type": "failed", "kind": "quota", "status": 429}, reading=reading) is AttemptClass.BILLING
    assert come_to({"type": "failed", "kind": "other", "status": 429}, reading=reading) is AttemptClass.RATE_LIMIT
    assert come_to({"type": "failed", "kind": ["quota"], "status": [429]}, reading=reading) is AttemptClass.AGENT_FAILED


@pytest.mark.parametrize(
    ("event", "expected", "source"),
    [
        (retry(429, resets=2_000_000), 2_000_000.0, "field"),
        (retry(429, after="30"), NOW + 30, "field"),
        (retry(429, after=30), NOW + 30, "field"),
        (retry(429, why="back at 3000000"), 3_000_000.0, "text"),
        (retry(429, why="back at 3000000", resets=2_000_000), 2_000_000.0, "field"),
        (retry(429, resets="soon"), None, None),
    ],
)
def test_a_reset_is_taken_from_a_field_else_from_words(event: dict[str, Any], expected: float | None, source: str | None) -> None:
    verdict = end(stream_of(event), 1)
    assert (verdict.resets_at, verdict.reset_source) == (expected, source)


def test_a_reset_that_is_past_is_forgotten() -> None:
    assert end(stream_of(retry(429, resets=2_000_000), {"type": "word"}, retry(500)), 1).resets_at is None


def test_work_that_goes_on_takes_the_terminal_event_back() -> None:
    begin = EventRule(where={"type": ["begin"]}, means="begin")
    reading = Reading(events=[DONE, begin])
    stream = stream_of({"type": "done"}, reading=reading)
    assert stream.has_ended
    stream.feed(b'{"type": "begin"}\n')
    assert not stream.has_ended
    assert end(stream).attempt_class is AttemptClass.PROTOCOL_ERROR


def test_a_last_line_without_a_newline_counts_if_it_is_whole() -> None:
    stream = AgentStream(READING, lambda: NOW)
    stream.feed(b'{"type": "done"}')
    assert not stream.has_ended
    assert end(stream).attempt_class is AttemptClass.OK
    stream = AgentStream(READING, lambda: NOW)
    stream.feed(b'{"type": "done"}\n{"type": "wo')
    verdict = end(stream)
    assert verdict.attempt_class is AttemptClass.PROTOCOL_ERROR
    assert "breaks off" in verdict.message


def test_no_chunk_of_a_line_of_10_mb_copies_what_came_before() -> None:
    line = json.dumps({"type": "word", "text": "x" * 10_000_000}).encode() + b'\n{"type": "done"}\n'
    stream = AgentStream(READING, lambda: NOW)
    begun, most = line.index(b"\n") - 1024, 0
    tracemalloc.start()
    try:
        for start in range(0, begun, 1024):
            chunk = line[start : start + 1024]
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            stream.feed(chunk)
            most = max(most, tracemalloc.get_traced_memory()[1] - held)
    finally:
        tracemalloc.stop()
    assert most < 200_000, "bytes that the feeding of one chunk made: the chunk, and now and then a longer list of chunks"
    stream.feed(line[start + 1024 :])
    verdict = end(stream)
    assert verdict.attempt_class is AttemptClass.OK
    assert verdict.text is not None
    assert len(verdict.text) == 10_000_000


def test_of_a_line_without_end_no_more_is_held_than_may_be_read_and_what_follows_is_read() -> None:
    for size, longest in ((1, 50), (7, 50), (50, 50), (51, 50), (1000, 50), (256 * 1024, LONGEST_LINE_BYTES)):
        lines, most = Lines((), longest), 0
        stream = b"first\n" + b"x" * (longest + 1) + b"\nlast\n" + b"x" * 2 * longest + b"\n\nrest"
        whole: list[bytes] = []
        for start in range(0, len(stream), size):
            whole += lines.complete(stream[start : start + size])
            most = max(most, lines.held)
        assert (whole, lines.skipped, lines.take_rest()) == ([b"first", b"last", b""], 2, b"rest")
        assert most <= longest
    longest = b"x" * LONGEST_LINE_BYTES
    assert Lines(()).complete(longest + b"\n") == [longest]


def test_an_event_that_is_too_long_is_told_once_and_takes_no_success_away() -> None:
    long = '{"type": "word", "text": "' + "x" * LONGEST_LINE_BYTES + '"}'
    told = end(stream_of(long, long, {"type": "done"}))
    assert (told.attempt_class, told.message) == (AttemptClass.OK, "")
    assert told.notes[-1] == "2 lines of more than 16 MiB not read"
    told = end(stream_of(long, {"type": "failed", "why": "no"}))
    assert told.message == "no; 1 line of more than 16 MiB not read"
    stream = stream_of({"type": "done"})
    stream.feed(long.encode())
    assert end(stream).attempt_class is AttemptClass.PROTOCOL_ERROR, "it may be half of an event that takes the success back"
    assert stream.events == 1


def test_a_name_of_a_megabyte_is_cut_and_not_kept_for_each_type() -> None:
    rule = EventRule(where={"type": ["done"]}, means="success", take={"model": ["model"]})
    stream = stream_of(*({"type": f"{number}" + "x" * 100_000} for number in range(50)), reading=Reading(events=[rule]))
    tracemalloc.start()
    try:
        for number in range(100):
            stream.feed(json.dumps({"type": f"{number}" + "x" * 100_000}).encode() + b"\n")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
    stream.feed(json.dumps({"type": "done", "model": "m" * 1_000_000}).encode() + b"\n")
    assert stream.model == "m" * 200


def test_lines_that_are_no_events_are_passed_over() -> None:
    stream = stream_of(
        "Loading…", "[1, 2]", "null", '"text"', "{broken}", {"type": "unheard of"}, {"no": "type"}, {"type": "done"}
    )
    assert stream.events == 8
    assert end(stream).attempt_class is AttemptClass.OK


def test_an_exit_code_that_the_cli_explains_gives_the_class() -> None:
    assert come_to(code=53) is AttemptClass.TURNS
    assert come_to({"type": "failed", "why": "no money"}, code=53) is AttemptClass.BILLING


def test_without_an_event_stderr_says_what_went_wrong() -> None:
    verdict = end(stream_of(), 1, stderr=b"starting\nError: the usage limit, back at 3000000\n")
    assert (verdict.attempt_class, verdict.resets_at) == (AttemptClass.USAGE_LIMIT, 3_000_000.0)
    assert verdict.message == "exit code 1: Error: the usage limit, back at 3000000"
    assert come_to(code=1, stderr=b"usage: mine [options]\n") is AttemptClass.AGENT_FAILED
    assert end(stream_of("Not logged in"), 1).message == "exit code 1: Not logged in", "some tell it on stdout"


def test_a_signal_that_we_did_not_send_is_a_failure() -> None:
    verdict = end(stream_of({"type": "word"}), None)
    assert (verdict.attempt_class, verdict.message) == (AttemptClass.AGENT_FAILED, "ended by signal 9")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (EndReason.TIMEOUT, AttemptClass.TIMEOUT),
        (EndReason.STALLED, AttemptClass.STALLED),
        (EndReason.EVENTS, AttemptClass.STALLED),
        (EndReason.CANCEL, AttemptClass.CANCELLED),
        (EndReason.DRAIN, AttemptClass.CANCELLED),
        (EndReason.MEMORY, AttemptClass.MEMORY),
    ],
)
def test_what_we_ended_says_so_and_what_it_told_last(reason: EndReason, expected: AttemptClass) -> None:
    verdict = end(stream_of(retry(500)), 0, reason)
    assert verdict.attempt_class is expected
    assert verdict.message.endswith("it last told: status 500")


def test_denials_are_told_with_a_success_and_explain_a_failure() -> None:
    denial = EventRule(where={"type": ["denied"]}, take={"denials": ["tool"]})
    reading = Reading(events=[DONE, FAILED, denial], classes=CLASSES)
    denied = {"type": "denied", "tool": "Bash"}
    verdict = end(stream_of(denied, denied, {"type": "done"}, reading=reading))
    assert (verdict.attempt_class, verdict.denials) == (AttemptClass.OK, ["Bash", "Bash"])
    verdict = end(stream_of(denied, {"type": "failed", "why": "stuck"}, reading=reading), 1)
    assert (verdict.attempt_class, verdict.message) == (AttemptClass.DENIED, "stuck; not allowed: Bash")
    assert come_to(denied, reading=reading) is AttemptClass.DENIED
    assert come_to(denied, {"type": "failed", "why": "no money"}, reading=reading) is AttemptClass.BILLING


def test_answers_replace_one_another_and_parts_are_joined() -> None:
    part = EventRule(where={"type": ["part"]}, take={"answer_part": ["text"]})
    new = EventRule(where={"type": ["tool"]}, parts_answer=True)
    reading = Reading(events=[DONE, WORD, part, new])
    parts = [{"type": "part", "text": text} for text in ("a", "b", "c")]
    assert end(stream_of(*parts, reading=reading)).text == "abc"
    assert end(stream_of(*parts, {"type": "tool"}, *parts[:2], reading=reading)).text == "ab"
    assert end(stream_of(*parts, {"type": "tool"}, reading=reading)).text == "abc", "an answer that has not begun replaces none"
    words = [{"type": "word", "text": text} for text in ("first", "second", "")]
    assert end(stream_of(*words, reading=reading)).text == "second"
    assert end(stream_of(reading=reading)).text is None


def test_numbers_are_the_last_told_or_add_up() -> None:
    take = {
        "cost_usd": ["cost"],
        "input_tokens": ["in", "-cached"],
        "cache_read_tokens": ["cached"],
        "output_tokens": ["models.*.out"],
    }
    last = Reading(events=[EventRule(where={"type": ["step"]}, take=take)])  # type: ignore[arg-type]
    sums = Reading(events=[EventRule(where={"type": ["step"]}, take=take, adds=True)])  # type: ignore[arg-type]
    step = {"type": "step", "cost": 0.5, "in": 100, "cached": 30, "models": {"a": {"out": 3}, "b": {"out": 4}}}
    verdict = end(stream_of(step, step, {"type": "step"}, reading=last))
    assert (verdict.cost_usd, verdict.usage) == (0.5, Usage(input_tokens=70, output_tokens=7, cache_read_tokens=30))
    verdict = end(stream_of(step, step, {"type": "step"}, reading=sums))
    assert (verdict.cost_usd, verdict.usage) == (1.0, Usage(input_tokens=140, output_tokens=14, cache_read_tokens=60))


@pytest.mark.parametrize("wrong", ["7", True, -1, None, [3], {"a": 1}, 1e300, 2**62, float("inf"), 10**300, 10**400, -(10**400)])
def test_a_number_of_another_type_is_unknown_and_never_0(wrong: object) -> None:
    reading = Reading(
        events=[EventRule(where={"type": ["step"]}, take={"cost_usd": ["cost"], "input_tokens": ["in"], "turns": ["n"]})]
    )
    verdict = end(stream_of({"type": "step", "cost": wrong, "in": wrong, "n": wrong}, reading=reading))
    assert (verdict.cost_usd, verdict.usage, verdict.turns) == (None, None, None)


def test_a_field_inside_json_that_is_handed_on_as_text_is_found() -> None:
    body = json.dumps({"error": {"resets": 2_000_000}})
    rule = EventRule(where={"type": ["failed"]}, means="failure", take={"resets_at": ["body.error.resets"]})
    reading = Reading(events=[DONE, rule])
    assert end(stream_of({"type": "failed", "body": body}, reading=reading), 1).resets_at == 2_000_000.0
    assert end(stream_of({"type": "failed", "body": "{torn"}, reading=reading), 1).resets_at is None


def test_true_is_not_1_and_a_missing_field_is_null() -> None:
    rule = EventRule(where={"type": ["done"], "code": [1]}, means="success")
    assert come_to({"type": "done", "code": 1}, reading=Reading(events=[rule])) is AttemptClass.OK
    assert come_to({"type": "done", "code": True}, reading=Reading(events=[rule])) is AttemptClass.PROTOCOL_ERROR
    absent = Reading(events=[EventRule(where={"type": ["done"]}, absent=["parent"], means="success")])
    assert come_to({"type": "done", "parent": None}, reading=absent) is AttemptClass.OK
    assert come_to({"type": "done", "parent": "x"}, reading=absent) is AttemptClass.PROTOCOL_ERROR


TEXT = Reading(
    format="text",
    lines=[
        LineRule(pattern="^Error: ", means="retry", gathers=True),
        LineRule(pattern="^Retrying"),
        LineRule(pattern="^---$", means="answer_begins"),
        LineRule(pattern=r"^Used (?P<input_tokens>\S+) for \$(?P<cost_usd>\S+)$", means="progress"),
    ],
    classes=CLASSES,
    needs_check=True,
)


def test_text_succeeds_if_a_call_went_well_and_none_failed_after_it() -> None:
    assert come_to("---", "hello", "Used 1.5k for $0.25", reading=TEXT) is AttemptClass.OK
    assert come_to("---", "hello", reading=TEXT) is AttemptClass.PROTOCOL_ERROR
    assert come_to("---", "Used 1 for $0.25", "Error: there is no", "money left", reading=TEXT) is AttemptClass.BILLING
    assert come_to("Error: no money", "Retrying", "Used 1 for $1", reading=TEXT) is AttemptClass.OK
    assert come_to("Used 1 for $1", code=1, reading=TEXT) is AttemptClass.AGENT_FAILED


def test_a_message_that_is_broken_over_lines_is_known_when_the_next_line_ends_it() -> None:
    stream = stream_of("Error: the usage", "  limit is reached", reading=TEXT)
    assert stream.finding is None
    stream.feed(b"Retrying in 3 s\n")
    assert stream.finding is not None
    assert (stream.finding.attempt_class, stream.finding.message) == (
        AttemptClass.USAGE_LIMIT,
        "Error: the usage limit is reached",
    )


def test_numbers_in_text_add_up() -> None:
    verdict = end(stream_of("---", "hello", "world", "Used 1.5k for $0.25", "Used 20 for $1", reading=TEXT))
    assert (verdict.usage, verdict.cost_usd, verdict.text) == (Usage(input_tokens=1520), 1.25, "hello\nworld")


@pytest.mark.parametrize(
    "told",
    ["-x", "--resume", "/tmp/session.jsonl", "work/x", ".x", "~x", "a b", "a\0b", "a\nb", "ä", "s" * 201, "s" * 300_000, ""],
)
def test_a_session_id_that_cannot_be_an_argument_of_its_own_is_none(told: str) -> None:
    begin = EventRule(where={"type": ["begin"]}, take={"session": ["id"]})
    reading = Reading(events=[begin, DONE])
    assert stream_of({"type": "begin", "id": told}, reading=reading).session_id is None
    stream = stream_of({"type": "begin", "id": "ses_1:a.b"}, {"type": "begin", "id": told}, {"type": "done"}, reading=reading)
    assert stream.session_id == "ses_1:a.b"
    assert end(stream).attempt_class is AttemptClass.OK
