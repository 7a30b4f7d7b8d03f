"""Answers are held against their schemas beside the loop: one that takes for ever holds up nobody else."""

from __future__ import annotations

import math
import os
import re

import pytest
from drivers.held_judgement import HeldJudgement, let_go
from drivers.loop_stories import AbandonedError, LoopStories, fan_out
from drivers.memory_engine import MemoryEngine, Step

from orchestrator.control.messages import CancelRequest, Reply, StopRequest
from orchestrator.supervisor import judgements
from orchestrator.supervisor.judgements import Judgements

SAYS = """
[jobs.s]
agent = "fake"
prompt = "Say it."
schema = "s.json"
attempts = 3
"""


@pytest.fixture
def held(stories: LoopStories, monkeypatch: pytest.MonkeyPatch) -> LoopStories:
    """Stories in which an answer is judged until the test lets it go."""
    pytest.importorskip("jsonschema")
    stories.add_agent()
    (stories.folder / "s.json").write_text('{"type": "string"}')
    monkeypatch.setattr(judgements, "Judgement", HeldJudgement)
    return stories


def until_judged(stories: LoopStories, engine: MemoryEngine, answer: str) -> Step:
    """Let the agent give this answer, and the loop begin to have it judged."""
    engine.ok("s", answer)
    while not stories.loop._parts.judgements._under_way:
        yield


def test_the_others_go_on_while_an_answer_is_judged(held: LoopStories) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("s", "a:0")
        yield from until_judged(held, engine, '"said"')
        for index in range(3):
            # One at a time: the slot of the agent is its own until its answer is judged.
            yield from engine.until_running(f"a:{index}")
            engine.ok(f"a:{index}")
        while held.statuses("a") != ["succeeded"] * 3:
            yield
        assert held.ends() == [("a", index, "succeeded") for index in range(3)]
        let_go(held.loop._parts.judgements)

    assert held.run(SAYS + fan_out(3), story).exit_code == 0
    assert held.statuses("s") == ["succeeded"]


@pytest.mark.parametrize(("answer", "status"), [('"said"', "succeeded"), ("7", "cancelled")])
def test_a_cancel_while_an_answer_is_judged_waits_for_what_comes_of_it(held: LoopStories, answer: str, status: str) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("s")
        yield from until_judged(held, engine, answer)
        assert (yield from held.ask(CancelRequest([("s", 0)]))) == Reply(True, "1 item is being cancelled")
        let_go(held.loop._parts.judgements)

    held.run(SAYS, story)
    assert held.statuses("s") == [status]
    assert (held.world.started, held.engine.asked) == (["s"], []), "it has ended: its worker is asked for nothing"


@pytest.mark.parametrize("now", [False, True])
def test_a_stop_waits_for_the_verdict_so_that_nobody_pays_twice(held: LoopStories, *, now: bool) -> None:
    def story(engine: MemoryEngine) -> Step:
        yield from engine.until_running("s", "a:0")
        yield from until_judged(held, engine, '"said"')
        assert (yield from held.ask(StopRequest(now=now))).ok
        if not now:
            engine.ok("a:0")
        while len(held.ends()) < 1:
            yield
        let_go(held.loop._parts.judgements)

    assert held.run(SAYS + fan_out(2), story).status == "interrupted"
    assert held.statuses("s") == ["succeeded"]


def test_a_supervisor_that_is_gone_before_the_verdict_loses_nothing(held: LoopStories) -> None:
    def left(engine: MemoryEngine) -> Step:
        yield from engine.until_running("s")
        yield from until_judged(held, engine, '"said"')
        raise AbandonedError

    def back(_engine: MemoryEngine) -> Step:
        # It is taken over before the story begins.
        let_go(held.loop._parts.judgements)
        yield

    held.abandon(SAYS, left)
    assert held.ends() == []
    held.world.tell_again()
    assert held.resume(back).exit_code == 0
    assert (held.world.started, held.statuses("s")) == (["s"], ["succeeded"])


def test_so_many_are_judged_at_once_and_the_others_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgements, "Judgement", HeldJudgement)
    judged = Judgements(2)
    for number in range(5):
        judged.begin(number, lambda number=number: b"%d" % number)  # type: ignore[misc]
    told = []
    for _ in range(3):
        let_go(judged)
        told.append(list(judged.take_told()))
    judged.close()
    assert told == [[(0, b"0"), (1, b"1")], [(2, b"2"), (3, b"3")], [(4, b"4")]]


def test_one_that_takes_too_long_is_ended_and_one_that_finds_no_room_is_judged_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def endless() -> bytes:
        return b"%d" % bool(re.search("^(a+)+$", "a" * 60 + "!"))

    def no_room() -> int:
        raise BlockingIOError

    judged = Judgements(2)
    judged.begin(7, endless)
    assert list(judged.end_late(0.0)) == []
    assert list(judged.end_late(math.inf)) == [(7, None)]
    monkeypatch.setattr(os, "fork", no_room)
    judged.begin(8, lambda: b"fits")
    judged.begin(9, lambda: b"%d" % (1 // 0))
    assert judged.next_look == 0.0
    assert list(judged.end_late(0.0)) == [(8, b"fits"), (9, None)]
    judged.close()
