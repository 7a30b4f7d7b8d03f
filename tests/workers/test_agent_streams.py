"""Whatever an agent writes, and however it arrives: it reads the same, raises nothing, and a torn one is no success."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from drivers.recorded_agents import RECORDED_AT, SAMPLES, ended, read, reading_of, sample
from drivers.sweeps import examples
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.agents.event_rules import EventRules
from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.agents.stream_reader import AgentTold
from orchestrator.workers.protocol import AttemptClass, EndReason
from orchestrator.workers.protocol.reading import Reading

AGENTS = Profiles().names()
TELL_EVENTS = sorted({agent for name in SAMPLES if reading_of(agent := name.split("/")[0]).format == "json"})


@cache
def successes() -> list[str]:
    return [name for name in SAMPLES if ended(name, read(name)).attempt_class is AttemptClass.OK]


def seen(stream: AgentStream, verdict: AgentTold) -> tuple[Any, ...]:
    return (*verdict, stream.events, stream.session_id, stream.model, stream.has_ended, stream.finding)


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(name=st.sampled_from(SAMPLES), cuts=st.lists(st.integers(0, 200_000), max_size=40))
@example(name="claude/ok", cuts=list(range(3000)))
@example(name="aider/limit", cuts=list(range(2500)))
def test_any_chunking_reads_the_same(name: str, cuts: list[int]) -> None:
    whole = read(name)
    cut = AgentStream(reading_of(name.split("/")[0]), lambda: RECORDED_AT)
    for chunk in chunks(sample(name).stdout, cuts):
        cut.feed(chunk)
    for chunk in chunks(sample(name).stderr, cuts):
        cut.feed_stderr(chunk)
    assert seen(cut, ended(name, cut)) == seen(whole, ended(name, whole))


@cache
def last_byte_that_counts(name: str) -> int:
    """Of the first terminal event; of a text, of the line that says that a call went well."""
    reading, data = reading_of(name.split("/")[0]), sample(name).stdout.rstrip()
    if reading.format == "text":
        return data.rindex(b"received.") + len(b"received.")
    stream, read = AgentStream(reading, lambda: RECORDED_AT), 0
    for line in data.splitlines(keepends=True):
        stream.feed(line.rstrip(b"\n") + b"\n")
        read += len(line)
        if stream.has_ended:
            break
    return len(data[:read].rstrip())


@given(name=st.deferred(lambda: st.sampled_from(successes())), place=st.integers(0, 200_000))
@examples(300)
def test_a_stream_cut_anywhere_is_never_a_success(name: str, place: int) -> None:
    stream = AgentStream(reading_of(name.split("/")[0]), lambda: RECORDED_AT)
    stream.feed(sample(name).stdout[: place % last_byte_that_counts(name)])
    verdict = stream.classify(exit_code=0, signal=None, ended_by=None, stderr=sample(name).stderr)
    assert verdict.attempt_class is not AttemptClass.OK


@pytest.mark.parametrize("name", ["claude/ok", "codex/tool", "gemini/ok", "opencode/tool", "qwen/ok", "aider/ok"])
def test_a_stream_cut_at_every_byte_is_never_a_success(name: str) -> None:
    data, end = sample(name).stdout, last_byte_that_counts(name)
    for place in range(end + 1):
        stream = AgentStream(reading_of(name.split("/")[0]), lambda: RECORDED_AT)
        stream.feed(data[:place])
        verdict = stream.classify(exit_code=0, signal=None, ended_by=None, stderr=b"")
        assert (verdict.attempt_class is AttemptClass.OK) == (place == end), place


def keys_and_values(reading: Reading) -> tuple[list[str], list[Any]]:
    """The words that the rules of a reading look for: arbitrary events made of others would pass them all by."""
    keys, values = {"type"}, [None, True, False, 0, 1, -1, 401, 429, 1e300]
    for rule in reading.events:
        paths = [*rule.where, *rule.unless, *rule.present, *rule.match, *rule.classes, rule.status or "type"]
        for path in [*paths, *(path for paths in rule.take.values() for path in paths)]:
            keys |= set(path.removeprefix("-").split(".")) - {"*"}
        values += [value for each in (*rule.where.values(), *rule.unless.values()) for value in each]
    return sorted(keys), values


@cache
def events_of(agent: str) -> st.SearchStrategy[Any]:
    keys, values = keys_and_values(reading_of(agent))
    leaves = (
        st.sampled_from(values)
        | st.text(max_size=20)
        | st.integers()
        | st.floats(allow_nan=False)
        | st.sampled_from(["[API Error: 401]", "resets 25:99pm", "try again at Feb 31st", '{"error": {"type": 3}}', "[1"])
    )
    below = st.lists(leaves, max_size=2) | st.dictionaries(st.sampled_from(keys), leaves, max_size=4)
    nested = leaves | below | st.dictionaries(st.sampled_from(keys), below, max_size=3) | st.lists(below, max_size=2)
    return st.dictionaries(st.sampled_from(keys), nested, max_size=8)


@given(data=st.data(), agent=st.sampled_from(AGENTS), exit_code=st.sampled_from([0, 1, 53, 145, None]))
@examples(200)
def test_no_event_of_an_unexpected_type_raises_or_passes_for_a_success(
    data: st.DataObject, agent: str, exit_code: int | None
) -> None:
    reading = reading_of(agent)
    lines = [
        json.dumps(event, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
        for event in data.draw(st.lists(events_of(agent), max_size=4))
    ]
    stream = AgentStream(reading, lambda: RECORDED_AT)
    stream.feed(b"\n".join(lines))
    reason = data.draw(st.sampled_from([None, *EndReason]))
    verdict = stream.classify(
        exit_code=exit_code, signal=9 if exit_code is None else None, ended_by=reason, stderr=data.draw(st.binary(max_size=40))
    )
    if verdict.attempt_class is AttemptClass.OK:
        assert reason is EndReason.LINGERING or (exit_code == 0 and reason in (None, EndReason.FINDING))
        assert stream.has_ended
    numbers = [] if verdict.usage is None else [getattr(verdict.usage, name) for name in verdict.usage.__struct_fields__]
    assert all(number is None or 0 <= number < 2**63 for number in numbers)
    assert isinstance(verdict.text, str | None)
    json.dumps(verdict.message).encode()


@cache
def recorded_lines(agent: str) -> list[bytes]:
    """All events that the agent has been seen to tell, those by which an attempt succeeds or fails as often as all others."""
    lines = {line for name in SAMPLES if name.startswith(f"{agent}/") for line in sample(name).stdout.splitlines()}
    events = sorted(line for line in lines if line.startswith(b"{"))
    means = [line for line in events if {"success", "failure", "error", "begin"} & set(meanings_of(agent, line))]
    return events + means * (len(events) // len(means))


def meanings_of(agent: str, line: bytes) -> list[str | None]:
    return [rule.means for rule in EventRules(reading_of(agent).events).fitting(json.loads(line))]


@given(data=st.data(), agent=st.sampled_from(TELL_EVENTS))
@examples(400)
def test_of_true_events_in_any_order_only_a_success_that_nothing_follows_and_no_failure_precedes_is_one(
    data: st.DataObject, agent: str
) -> None:
    lines = data.draw(st.lists(st.sampled_from(recorded_lines(agent)), max_size=6))
    means = [each for line in lines for each in meanings_of(agent, line)]
    words = [each for each in means if each in ("success", "begin", "progress", "retry")]
    is_well = words[-1:] == ["success"] and not {"failure", "error"} & set(means)
    for reason, exit_code in ((None, 0), (EndReason.LINGERING, None), (None, 1), (EndReason.TIMEOUT, 0)):
        stream = AgentStream(reading_of(agent), lambda: RECORDED_AT)
        stream.feed(b"".join(line + b"\n" for line in lines))
        verdict = stream.classify(exit_code=exit_code, signal=None if exit_code is not None else 15, ended_by=reason, stderr=b"")
        is_ended_well = exit_code == 0 if reason is None else reason is EndReason.LINGERING
        # Ended while a task of it was open it was not done, whatever it had told before.
        if reason is EndReason.LINGERING and "waited for" in verdict.message:
            assert any(b'"task_started"' in line for line in lines)
            is_ended_well = False
        assert (verdict.attempt_class is AttemptClass.OK) == (is_well and is_ended_well), (reason, verdict.message)


@given(agent=st.sampled_from(AGENTS), data=st.binary(max_size=300), stderr=st.binary(max_size=300))
@examples(300)
@example(agent="claude", data=b'{"type":"result","subtype":"success","is_error":false,"result":"half \\ud83d"}\n', stderr=b"")
@example(agent="claude", data=b"[" * 100_000, stderr=b"")
@example(agent="claude", data=b'{"type":' * 100_000 + b"1" + b"}" * 100_000, stderr=b"")
@example(agent="claude", data=b'{"type":"result","total_cost_usd":1e999,"num_turns":' + b"9" * 5000 + b"}\n", stderr=b"")
def test_no_bytes_raise(agent: str, data: bytes, stderr: bytes) -> None:
    stream = AgentStream(reading_of(agent), lambda: RECORDED_AT)
    stream.feed(data)
    verdict = stream.classify(exit_code=1, signal=None, ended_by=None, stderr=stderr)
    assert verdict.attempt_class is not AttemptClass.OK
