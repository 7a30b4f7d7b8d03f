"""The sources of a run's news: each part that may have some, as the inbox asks it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import starmap

from orchestrator.control.server import ControlServer
from orchestrator.core.events import StartDeclined
from orchestrator.engines.engine import Engine, Noted, earliest
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.gates import Gates
from orchestrator.supervisor.happened import (
    Answered,
    AnswerJudged,
    Asked,
    BecameDurable,
    Happened,
    MayBeFree,
    Signalled,
    TokenNews,
    WaitGivenUp,
)
from orchestrator.supervisor.inbox import LONGEST_WAIT_SECONDS, Source
from orchestrator.supervisor.judgements import Judgements
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.resources import MissingResources
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.waits_of_run import WaitsOfRun
from orchestrator.system.run_log import append_log
from orchestrator.system.stop_signals import SignalInbox


class Signals(Source):
    """Signals of this process, and its program's `Stopper`."""

    def __init__(self, inbox: SignalInbox) -> None:
        self._inbox = inbox

    def filenos(self) -> list[int]:
        return [self._inbox.fileno()]

    def read_news(self, _fileno: int = -1) -> Iterator[Happened]:
        return (Signalled(number) for number in self._inbox.take_signals())

    def news_at_hand(self) -> Iterable[Happened]:
        """A stop goes before the end of an item that came behind it: on a busy machine one wait finds both, and an end that is
        heard first starts the next item."""
        return self.read_news() if self._inbox.has_signals else ()


class Requests(Source):
    """Requests through the run's control socket. A client is a descriptor more."""

    is_fixed = False

    def __init__(self, server: ControlServer) -> None:
        self._server = server

    def filenos(self) -> list[int]:
        return self._server.filenos()

    def read_news(self, fileno: int) -> Iterator[Happened]:
        return starmap(Asked, self._server.poll(fileno))


class Views(Source):
    """Views, which show that time passes. They have no news for the loop: they only need a look in time, however busy it is."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator

    @property
    def next_look(self) -> float:
        return self._narrator.next_refresh

    def look_for_news(self, now: float) -> Iterable[Happened]:
        self._narrator.refresh_if_due(now)
        return ()


class Terminal(Source):
    """A person at the terminal, to whom a gate has put its question."""

    is_fixed = False

    def __init__(self, gates: Gates) -> None:
        self._gates = gates

    def filenos(self) -> list[int]:
        return self._gates.filenos()

    def read_news(self, _fileno: int) -> Iterator[Happened]:
        yield Answered(self._gates.read_terminal())


class Durability(Source):
    """The syncer of the run's records. Raises its error: StateUnwritableError."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def filenos(self) -> list[int]:
        return [self._run.store.sync_fileno()]

    def read_news(self, _fileno: int) -> Iterator[Happened]:
        items = self._run.recorder.durable()
        if items:
            yield BecameDurable(items)


class HeldRun(Source):
    """The lock, the journal and the socket of the run, which somebody may remove beside it. It has no news."""

    def __init__(self, run: Run, control: ControlServer) -> None:
        self._run = run
        self._control = control
        self._due = 0.0

    @property
    def next_look(self) -> float | None:
        return self._due

    def look_for_news(self, now: float) -> Iterable[Happened]:
        if now >= self._due:
            # At a whole second, as the looks of views and at workers: one wake does for all.
            self._due = int(now) + LONGEST_WAIT_SECONDS
            self._run.store.look_after_files()
            if self._control.keep():
                append_log(self._run.dir.log, "control.sock had been removed or replaced: it was put back")
        return ()


class Attempts(Source):
    """The engine, which tells of ends of attempts; and child runs that were asked to end."""

    is_fixed = False

    def __init__(self, flights: Flights, engine: Engine) -> None:
        self._flights = flights
        self._engine = engine
        self._asks = flights.asks_fileno()
        self._of_engine: Sequence[int] = ()
        self._filenos = [self._asks]

    def filenos(self) -> list[int]:
        named = self._engine.sources()
        if named is not self._of_engine:
            self._of_engine, self._filenos = named, [self._asks, *named]
        return self._filenos

    def read_news(self, fileno: int) -> Iterable[Happened]:
        if fileno == self._asks:
            self._flights.take_in_asks()
            return ()
        return self._engine.take_in(fileno)

    @property
    def next_look(self) -> float | None:
        return earliest(self._engine.next_look, self._flights.next_look)

    def look_for_news(self, now: float) -> Iterable[Happened]:
        yield from self._engine.look_at_workers(now)
        if words := self._flights.begin_waiting_asks(now):
            yield Noted(words)


class Answers(Source):
    """Answers of agents that were held against their schemas, beside the loop."""

    def __init__(self, judgements: Judgements) -> None:
        self._judgements = judgements

    def filenos(self) -> list[int]:
        return [self._judgements.fileno()]

    def read_news(self, _fileno: int) -> Iterable[Happened]:
        return starmap(AnswerJudged, self._judgements.take_told())

    @property
    def next_look(self) -> float | None:
        return self._judgements.next_look

    def look_for_news(self, now: float) -> Iterable[Happened]:
        return starmap(AnswerJudged, self._judgements.end_late(now))


class Freed(Source):
    """Slots and resources that were missing. Nothing tells when a lock is let go of, so a `stat` finds out."""

    def __init__(self, run: Run, missing: MissingResources) -> None:
        self._run = run
        self._missing = missing

    @property
    def next_look(self) -> float | None:
        return self._missing.next_look

    def look_for_news(self, now: float) -> Iterable[Happened]:
        if self._missing.next_look is None or now < self._missing.next_look:
            return ()
        # A queued `StartDeclined` would put a hold on a resource after the core had heard that it may be free. Nothing would look
        # at that resource again.
        if any(isinstance(event, StartDeclined) for event in self._run.events):
            return ()
        return map(MayBeFree, self._missing.poll(now))


class Tokens(Source):
    """What comes of work in flight elsewhere that items of this run joined."""

    def __init__(self, desk: TokenDesk) -> None:
        self._desk = desk

    def filenos(self) -> list[int]:
        return self._desk.filenos()

    def read_news(self, fileno: int) -> Iterable[Happened]:
        self._desk.take_in(fileno)
        return self.look_for_news(time.monotonic())

    @property
    def next_look(self) -> float | None:
        return self._desk.next_look

    def look_for_news(self, now: float) -> Iterable[Happened]:
        return map(TokenNews, self._desk.poll(now))


class Deadlocks(Source):
    """Circles of waits over several runs, in which an item of this run is the victim."""

    def __init__(self, waits: WaitsOfRun) -> None:
        self._waits = waits

    @property
    def next_look(self) -> float | None:
        return self._waits.next_look

    def look_for_news(self, now: float) -> Iterable[Happened]:
        return starmap(WaitGivenUp, self._waits.find_victims(now))
