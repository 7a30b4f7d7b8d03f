"""Whatever two things happen to a run, in either order, in one turn of the loop or in two: nothing is lost, nothing is twice.

The run stands at a point where each of them means something: attempts run, one waits for a pool, some joined work whose verdict
is known and untold, a gate has its question at a terminal, an end is recorded and not durable. Each happening is made by what
makes it in a run, and taken in by the real loop. Then the story plays on to the end of the run.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from drivers.loop_stories import LoopStories, Terminal
from drivers.memory_engine import MemoryEngine, Step
from drivers.sweeps import sweep

from orchestrator.control.messages import (
    Approve,
    CancelRequest,
    CountWaiting,
    Explain,
    Flush,
    GoOn,
    Pause,
    Reply,
    Request,
    RetryRequest,
    SetBudget,
    SetSlots,
    StopRequest,
)
from orchestrator.core.decide import check_invariants
from orchestrator.core.states import Running, Waiting
from orchestrator.engines.engine import Noted
from orchestrator.errors import ExitCode
from orchestrator.shared.tokens.answers import ReplaceAsked
from orchestrator.store.syncer import Syncer
from orchestrator.supervisor import sources
from orchestrator.supervisor.happened import (
    Answered,
    Asked,
    BecameDurable,
    Happened,
    Signalled,
    TimeCame,
    TokenNews,
    WaitGivenUp,
)
from orchestrator.supervisor.loop import Loop
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.locks import unlock

JOBS = """
[run]
slots = 4
[pools.narrow]
slots = 1
[jobs.j]
for_each = [0, 1, 2]
token = "ship"
command = ["work"]
[jobs.p]
pool = "narrow"
command = ["work"]
[jobs.go]
gate = "Ship it?"
[jobs.t]
token = "own"
command = ["work"]
[jobs.a]
for_each = [0, 1, 2, 3]
attempts = 2
retry = { delay = "0s" }
command = ["work"]
[jobs.b]
for_each = { job = "a" }
command = ["work", "{{ parent.output }}"]
"""


class Stage:
    """One run, at the point where anything may happen to it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.stories = LoopStories(folder, monkeypatch)
        self.terminal = Terminal()
        pool = folder / "home" / "pools" / "narrow"
        pool.mkdir(parents=True)
        self._pool_fd = try_lock(pool / "0.lock")
        self._is_syncing = True
        request = Syncer.request_sync

        def hold(syncer: Syncer, group: int) -> None:
            if self._is_syncing:
                request(syncer, group)

        monkeypatch.setattr(Syncer, "request_sync", hold)
        # That what is written survives a power loss is told by other tests; a disk would take most of the time of these.
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, lambda _fd: None)

    # What makes things happen.

    @property
    def loop(self) -> Loop:
        return self.stories.loop

    def become_durable(self) -> Iterator[Happened]:
        """The syncer has written what it was kept from writing."""
        if self._is_syncing:
            return
        store = self.loop._run.store
        self._is_syncing = True
        store.request_sync()
        assert select.select([store.sync_fileno()], [], [], 30.0)[0]
        items = self.loop._run.recorder.durable()
        if items:
            yield BecameDurable(items)

    def ask(self, request: Request) -> Iterator[Happened]:
        """A client has asked, and waits for its answer."""
        control = self.loop._parts.control
        known = set(control.filenos())
        with self.stories.connect() as connection:
            (door,) = known - set(control._clients)
            control.poll(door)
            (client,) = set(control.filenos()) - known
            yield Asked(client, request)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert msgspec.json.decode(answer, type=Reply), "a request has one answer"

    def free_the_pool(self) -> Iterable[Happened]:
        """Somebody else has let go of the slot of the pool, and a look finds it."""
        self._let_pool_go()
        parts = self.loop._parts
        return sources.Freed(self.loop._run, parts.missing).look(time.monotonic() + 10.0)

    def say(self, choice: str | None) -> Iterator[Happened]:
        """Somebody at the terminal has typed a choice, if a question stands there; None: nobody sits there any more."""
        gates = self.loop._parts.gates
        if gates.filenos():
            self.terminal.say(choice)
            yield Answered(gates.read_terminal())

    def token_news(self) -> Iterator[Happened]:
        """The desk looks at what became of the work that items joined."""
        for told in self.loop._parts.tokens.poll(time.monotonic() + 10.0):
            yield TokenNews(told)

    def give_up(self) -> Iterator[Happened]:
        """The item that waits for the pool is the victim of a circle of waits."""
        item = self.loop._run.ref("p", 0)
        if isinstance(self.loop._state.jobs[item[0]].items[0], Waiting):
            yield WaitGivenUp((item,), "a circle of waits")

    def replace(self) -> Iterator[Happened]:
        """Another run wants the token of an item of this one."""
        item = self.loop._run.ref("t", 0)
        if isinstance(self.loop._state.jobs[item[0]].items[0], Running):
            yield TokenNews(ReplaceAsked(item, "other/x"))

    def end(self, item: str, how: Callable[[MemoryEngine, str], None]) -> Iterable[Happened]:
        """An attempt ends, if it runs still."""
        engine = self.stories.engine
        if item in engine.running:
            how(engine, item)
        return engine.tell_ended()

    def _let_pool_go(self) -> None:
        if self._pool_fd is not None:
            unlock(self._pool_fd)
            self._pool_fd = None

    # What is always true.

    def settle(self) -> None:
        """Have the core hear all, and record it: the end of a turn."""
        while self.loop._run.events:
            self.loop.decide()
        self.loop._run.recorder.commit()

    def check(self) -> None:
        """The whole state fits together."""
        state, flights = self.loop._state, self.loop._parts.flights
        check_invariants(state)
        running = {
            (order, index): item.slot
            for order, job in enumerate(state.jobs)
            for index, item in enumerate(job.items)
            if isinstance(item, Running)
        }
        assert {flight.item: flight.slot for flight in flights} == running, "the core and the table differ in what runs"
        world = self.stories.world
        untold = [over.sequence for over in world._ended.values()]
        assert sorted(flight.start.sequence for flight in flights) == sorted([*world._running, *untold]), "an attempt is nobody's"

    # The story.

    def play(self, first: str, second: str, *, in_one_turn: bool) -> None:
        """The run, with these two in the middle of it."""

        def story(engine: MemoryEngine) -> Step:
            yield from self._open(engine)
            for name in (first, second):
                for happened in HAPPENINGS[name](self):
                    self.loop.take_in(happened)
                if not in_one_turn:
                    self.settle()
                    self.check()
            self.settle()
            self.check()
            yield from self._close(engine)

        with self.terminal:
            report = self.stories.run(JOBS, story, slots=4, asker=self.terminal)
        assert report.exit_code in set(ExitCode) | {129, 130, 143}

    def _open(self, engine: MemoryEngine) -> Step:
        yield from engine.until_running("j:0", "t", "a:0", "a:1")
        yield from self.terminal.until_asked("Ship it?")
        self._is_syncing = False
        engine.ok("j:0", "shared")
        engine.ok("a:0", "zero")
        yield
        assert engine.running == ["t", "a:1", "a:2", "a:3"]

    def _close(self, engine: MemoryEngine) -> Step:
        self._is_syncing = True
        self.loop._run.store.request_sync()
        self._let_pool_go()
        while self.loop._finish is None:
            for item in engine.running:
                engine.ok(item)
            if self.terminal.question is not None:
                self.terminal.say("approve")
            self.check()
            yield


def asks(request: Request) -> Callable[[Stage], Iterable[Happened]]:
    return lambda stage: stage.ask(request)


HAPPENINGS: dict[str, Callable[[Stage], Iterable[Happened]]] = {
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


@pytest.mark.parametrize(
    "in_one_turn", sweep([pytest.param(True, id="in one turn"), pytest.param(False, id="in two turns")], quick=1)
)
@pytest.mark.parametrize("first", HAPPENINGS)
def test_any_two_happenings_leave_the_run_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str, *, in_one_turn: bool
) -> None:
    for number, second in enumerate(HAPPENINGS):
        with monkeypatch.context() as patch, telling(f"{first}, then {second}"):
            Stage(tmp_path / str(number), patch).play(first, second, in_one_turn=in_one_turn)


@contextmanager
def telling(pair: str) -> Iterator[None]:
    """Have a failure say which pair it was."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"the pair: {pair}")
        raise
