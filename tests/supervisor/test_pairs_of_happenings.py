"""Whatever two things happen to a run, in either order, in one turn of the loop or in two: nothing is lost, nothing is twice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import pytest
from drivers.loop_stage import Happening, QueuedStage, Stage
from drivers.memory_engine import MemoryEngine
from drivers.sweeps import sweep, telling

from orchestrator.control.messages import (
    Approve,
    CancelRequest,
    CountWaiting,
    Explain,
    Flush,
    GoOn,
    Pause,
    Request,
    RetryRequest,
    SetBudget,
    SetSlots,
    StopRequest,
)
from orchestrator.engines.engine import Noted
from orchestrator.supervisor.happened import Happened, Signalled, TimeCame


def asks(request: Request) -> Happening:
    return lambda stage: stage.ask(request)


HAPPENINGS: dict[str, Happening] = {
    "an attempt succeeded": lambda stage: stage.end("a:1", MemoryEngine.ok),
    "an attempt failed": lambda stage: stage.end("a:2", MemoryEngine.fail),
    "an attempt was lost": lambda stage: stage.end("a:3", MemoryEngine.lose),
    "the engine noted something": lambda _: [Noted("a worker is gone")],
    "SIGINT": lambda _: [Signalled(signal.SIGINT)],
    "SIGUSR1": lambda _: [Signalled(signal.SIGUSR1)],
    "a stop": asks(StopRequest()),
    "a stop at once": asks(StopRequest(now=True)),
    "a flush": asks(Flush()),
    "a pause": asks(Pause()),
    "the run was cancelled": asks(CancelRequest()),
    "what runs was cancelled": asks(CancelRequest([("a", 1)])),
    "what waits was cancelled": asks(CancelRequest([("j", 2), ("p", 0), ("b", 1)])),
    "more slots": asks(SetSlots(6)),
    "fewer slots": asks(SetSlots(1)),
    "another budget": asks(SetBudget("budget_usd", 5.0)),
    "why": asks(Explain([("a", 1), ("j", 1), ("p", 0), ("b", 0)])),
    "how many wait": asks(CountWaiting()),
    "an approval": asks(Approve([("go", 0)])),
    "a child run may go on": asks(GoOn(("a", 1))),
    "once more": asks(RetryRequest([("a", 0)])),
    "an answer was judged": Stage.judge,
    "an end became durable": Stage.become_durable,
    "shared work was done": Stage.token_news,
    "a token is to be replaced": Stage.replace,
    "somebody approved": lambda stage: stage.say("approve"),
    "somebody rejected": lambda stage: stage.say("reject"),
    "nobody sits there": lambda stage: stage.say(None),
    "the pool is free": Stage.free_the_pool,
    "a wait was given up": Stage.give_up,
    "the time came": lambda _: [TimeCame()],
}


def end_first(how: Callable[[MemoryEngine, str], None]) -> Happening:
    """Of what runs on the stage of queues, the first comes to this, if anything runs still."""
    return lambda stage: stage.end(next(iter(stage.stories.engine.running), ""), how)


BESIDE_QUEUES: dict[str, Callable[[QueuedStage], Iterable[Happened]]] = {
    "the next of a queue began": lambda stage: stage.go_on(MemoryEngine.tells),
    "the next of a queue began, and lasts": lambda stage: stage.go_on(MemoryEngine.lasts),
    "half of a queue began": QueuedStage.run_low,
    "queued starts came back": QueuedStage.give_back,
    "what is queued was cancelled": QueuedStage.cancel_queued,
    "an attempt succeeded": end_first(MemoryEngine.ok),
    "an attempt failed": end_first(MemoryEngine.fail),
    "an attempt was lost": end_first(MemoryEngine.lose),
    **{
        name: HAPPENINGS[name]
        for name in (
            "SIGINT",
            "SIGUSR1",
            "a stop",
            "a stop at once",
            "a flush",
            "a pause",
            "the run was cancelled",
            "more slots",
            "fewer slots",
            "how many wait",
            "an end became durable",
            "the time came",
        )
    },
}


@pytest.mark.parametrize(
    "in_one_turn", sweep([pytest.param(True, id="in one turn"), pytest.param(False, id="in two turns")], quick=1)
)
@pytest.mark.parametrize("first", sweep(HAPPENINGS, quick=1))
def test_any_two_happenings_leave_the_run_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, *, in_one_turn: bool
) -> None:
    for number, second in enumerate(HAPPENINGS):
        with monkeypatch.context() as patch, telling(f"{first}, then {second}"):
            Stage(tmp_path / str(number), patch).play(HAPPENINGS[first], HAPPENINGS[second], in_one_turn=in_one_turn)


@pytest.mark.parametrize(
    "in_one_turn", sweep([pytest.param(True, id="in one turn"), pytest.param(False, id="in two turns")], quick=1)
)
@pytest.mark.parametrize("first", sweep(BESIDE_QUEUES, quick=1))
def test_any_two_happenings_leave_a_run_whole_of_which_starts_are_queued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, *, in_one_turn: bool
) -> None:
    for number, (name, second) in enumerate(BESIDE_QUEUES.items()):
        with monkeypatch.context() as patch, telling(f"{first}, then {name}"):
            QueuedStage(tmp_path / str(number), patch).play(BESIDE_QUEUES[first], second, in_one_turn=in_one_turn)


def test_each_kind_of_happening_and_of_request_is_among_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is new has its line here, or it is tried with nothing."""
    seen: set[type] = set()
    tables = [(Stage, name, happening) for name, happening in HAPPENINGS.items()]
    tables += [(QueuedStage, name, happening) for name, happening in BESIDE_QUEUES.items() if name not in HAPPENINGS]
    for number, (kind, name, happening) in enumerate(tables):
        with monkeypatch.context() as patch:
            stage = kind(tmp_path / str(number), patch)
            stage.play(happening, in_one_turn=True)
        assert len(stage.seen) >= 1, f"{name}: it happens when it comes first"
        seen |= stage.seen
    assert seen == {*get_args(Happened), *get_args(Request)}
