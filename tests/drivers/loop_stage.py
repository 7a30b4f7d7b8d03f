"""A run that stands at a point where anything may happen to it, and the ways to make it happen.

Attempts run, one item waits for a pool, some joined work whose verdict is known and untold, a gate has its question at a
terminal, an end is recorded and not durable. Each happening is made by what makes it in a run, and taken in by the real loop.
Then the run is played on to its end.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from pathlib import Path

import msgspec
import pytest

from drivers.core_invariants import check_invariants
from drivers.held_judgement import HeldJudgement, let_go
from drivers.loop_stories import LoopStories, Terminal, fan_out
from drivers.memory_engine import MemoryEngine, Step
from orchestrator.control.messages import CancelRequest, Reply, Request
from orchestrator.core.states import ItemRef, Running, Waiting
from orchestrator.errors import ExitCode
from orchestrator.shared.tokens.answers import ReplaceAsked
from orchestrator.store.syncer import Syncer
from orchestrator.supervisor import judgements, lists, sources
from orchestrator.supervisor.happened import Answered, AnswerJudged, Asked, BecameDurable, Happened, TokenNews, WaitGivenUp
from orchestrator.supervisor.loop import Loop
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.locks import unlock

JOBS = """
[run]
slots = 5
[pools.narrow]
slots = 1
[jobs.s]
agent = "fake"
prompt = "Say it."
schema = "s.json"
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
    """One run, at the point where anything may happen to it. `jobs`: its jobs file. `most_queued`: as of `Engine`."""

    jobs = JOBS
    slots = 5
    most_queued = 0

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.stories = LoopStories(folder, monkeypatch)
        self.stories.most_queued = self.most_queued
        self.stories.add_agent()
        (folder / "s.json").write_text("{}")
        monkeypatch.setattr(judgements, "Judgement", HeldJudgement)
        # On a busy machine a list may take so long that it is put off, and the jobs behind it start first.
        monkeypatch.setattr(lists, "_PART_SECONDS", 30.0)
        self.terminal = Terminal()
        self.seen: set[type] = set()
        """The kinds of what happened, and of what was asked."""
        pool = folder / "home" / "pools" / "narrow"
        pool.mkdir(parents=True)
        self._pool_fd = try_lock(pool / "0.lock")
        self._asking: list[socket.socket] = []
        """Clients whose answer is due at the end of the turn."""
        self._is_syncing = True
        request = Syncer.request_sync

        def hold(syncer: Syncer, group: int, *, is_awaited: bool) -> None:
            if self._is_syncing:
                request(syncer, group, is_awaited=is_awaited)

        monkeypatch.setattr(Syncer, "request_sync", hold)
        self._hears_of_tokens = True
        """Whether the loop's own looks find token news; else `token_news` does, whenever the loop looks."""
        look = sources.Tokens.look_for_news

        def look_if_heard(tokens: sources.Tokens, now: float) -> Iterable[Happened]:
            return look(tokens, now) if self._hears_of_tokens else ()

        monkeypatch.setattr(sources.Tokens, "look_for_news", look_if_heard)
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
        recorder = self.loop._run.recorder
        items: tuple[ItemRef, ...] = ()
        # The first news may be of a sync that was under way when syncing was held up: it tells of earlier groups alone.
        while recorder._awaiting:
            assert select.select([store.sync_fileno()], [], [], 30.0)[0]
            items += recorder.durable()
        if items:
            yield BecameDurable(items)

    def ask(self, request: Request) -> Iterator[Happened]:
        """A client has asked, and waits for its answer."""
        control = self.loop._parts.control
        known = set(control.filenos())
        self._asking.append(self.stories.connect())
        (door,) = known - set(control._clients)
        control.poll(door)
        (client,) = set(control.filenos()) - known
        yield Asked(client, request, control._clients[client].requester)

    def free_the_pool(self) -> Iterable[Happened]:
        """Somebody else has let go of the slot of the pool, and a look finds it."""
        self._let_pool_go()
        parts = self.loop._parts
        return sources.Freed(self.loop._run, parts.missing).look_for_news(time.monotonic() + 10.0)

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

    def judge(self) -> Iterator[Happened]:
        """The answer that is being held against its schema fits."""
        judgements = self.loop._parts.judgements
        let_go(judgements)
        return starmap(AnswerJudged, list(judgements.take_told()))

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
        self.loop._reply()
        for connection in self._asking:
            with connection:
                answer = b"".join(iter(lambda sock=connection: sock.recv(65536), b""))  # type: ignore[misc]
            assert msgspec.json.decode(answer, type=Reply), "a request has one answer"
        self._asking.clear()

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
        world, judged = self.stories.world, self.loop._parts.ends._judging
        untold = [over.sequence for over in world._ended.values()]
        queued = [attempt.start.sequence for each in world._running.values() for attempt, _ in each.queued]
        at_work = sorted([*world._running, *queued, *world.returned, *untold, *judged])
        assert sorted(flight.start.sequence for flight in flights) == at_work, "an attempt is nobody's"

    # The story.

    def play(self, *happenings: Happening, in_one_turn: bool) -> None:
        """The run, with these in the middle of it."""

        def story(engine: MemoryEngine) -> Step:
            yield from self._open(engine)
            for make in happenings:
                for happened in make(self):
                    self.seen |= {type(happened), type(happened.request) if isinstance(happened, Asked) else Asked}
                    self.loop.take_in(happened)
                if not in_one_turn:
                    self.settle()
                    self.check()
            self.settle()
            self.check()
            yield from self._close(engine)

        with self.terminal:
            report = self.stories.run(self.jobs, story, slots=self.slots, asker=self.terminal)
        assert report.exit_code in set(ExitCode) | {129, 130, 143}

    def _open(self, engine: MemoryEngine) -> Step:
        yield from engine.until_running("s", "j:0", "t", "a:0", "a:1")
        engine.ok("s", '"said"')
        yield from self.terminal.until_asked("Ship it?")
        self._is_syncing = self._hears_of_tokens = False
        engine.ok("j:0", "shared")
        engine.ok("a:0", "zero")
        yield
        assert engine.running == ["t", "a:1", "a:2", "a:3"]

    def _close(self, engine: MemoryEngine) -> Step:
        self._is_syncing = self._hears_of_tokens = True
        self.loop._run.store.request_sync()
        self._let_pool_go()
        while self.loop._finish is None:
            for item in engine.running:
                engine.ok(item)
            if self.terminal.question is not None:
                self.terminal.say("approve")
            let_go(self.loop._parts.judgements)
            self.check()
            yield


Happening = Callable[[Stage], Iterable[Happened]]
"""Makes something happen, as far as it still can: what the inbox would give the loop."""


class QueuedStage(Stage):
    """One run of short items, at the point where starts are queued behind those that run."""

    jobs = fan_out(50)
    slots = 2
    most_queued = 3

    def go_on(self, told_by: Callable[[MemoryEngine, str], None]) -> Iterable[Happened]:
        """What runs in a slot with a queue succeeds, and the next begins, which is told by this."""
        engine = self.stories.engine
        if self.stories.world.queued:
            known = set(engine.running)
            engine.ok(self.stories.world.first_with_queue)
            for item in set(engine.running) - known:
                told_by(engine, item)
        return engine.tell_ended()

    def run_low(self) -> Iterable[Happened]:
        """All that runs in slots with queues succeeds, until half of a queue has begun."""
        world = self.stories.world
        while world.queued and not world.low:
            self.stories.engine.ok(world.first_with_queue)
        return self.stories.engine.tell_ended()

    def give_back(self) -> Iterable[Happened]:
        """The workers give back what is queued, each for a reason of its own."""
        self.stories.world.recall()
        return self.stories.engine.tell_ended()

    def cancel_queued(self) -> Iterator[Happened]:
        """A client cancels what is queued last, if anything is."""
        if queued := self.stories.world.queued:
            yield from self.ask(CancelRequest([("a", int(queued[-1].removeprefix("a:")))]))

    def _open(self, engine: MemoryEngine) -> Step:
        while len(engine.running) < self.slots or len(self.stories.world.queued) < self.most_queued:
            for item in list(engine.running):
                engine.ok(item)
            yield
        # Each happening finds a queue, and items left that may be queued again.
        assert len(self.stories.world.started) < 40
        self._is_syncing = False
