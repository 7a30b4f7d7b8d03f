"""The parts of the loop, made once for a run and joined to each other here and nowhere else.

A new part is one attribute. The order of the lines is the order of what stands on what.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from orchestrator.attempts.agent.answers import AgentEnds
from orchestrator.attempts.agent.fallback import Chooser
from orchestrator.attempts.child_runs import ChildRuns
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import label_without_attempt
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.message import StartMessages
from orchestrator.attempts.preparer import Preparer
from orchestrator.control.server import ControlServer
from orchestrator.engines.engine import Engine
from orchestrator.shared.limits.parks import Parks
from orchestrator.shared.limits.trials import Trials
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.shared.wait_board import WaitBoard
from orchestrator.store.kept_outcome import keep_outcome
from orchestrator.supervisor import sources
from orchestrator.supervisor.account_limits import AccountLimits
from orchestrator.supervisor.admission import Admission
from orchestrator.supervisor.attempt_ends import AttemptEnds, Means
from orchestrator.supervisor.attempt_starts import AttemptStarts, Preparation
from orchestrator.supervisor.charges import Charges
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.gates import Gates
from orchestrator.supervisor.inbox import Inbox, Source
from orchestrator.supervisor.joiners import Joiners
from orchestrator.supervisor.judgements import Judgements
from orchestrator.supervisor.lists import ItemLists
from orchestrator.supervisor.options import SessionOptions
from orchestrator.supervisor.paces import Paces
from orchestrator.supervisor.requests import Requests
from orchestrator.supervisor.resources import MissingResources, Resources
from orchestrator.supervisor.restored_jobs import RestoredJobs
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.run_end import RunEnd
from orchestrator.supervisor.settlements import Settlements
from orchestrator.supervisor.stops import Stops
from orchestrator.supervisor.waits_of_run import WaitsOfRun
from orchestrator.system.processors import usable_processors
from orchestrator.system.stop_signals import SignalInbox

if TYPE_CHECKING:
    from orchestrator.supervisor.growth import ListGrowth


class Brought(msgspec.Struct, frozen=True):
    """What a session brings for its run. `restored`: what the core shall know of a job that is listed once more."""

    options: SessionOptions
    engine: Engine
    signals: SignalInbox
    selector: Selector
    restored: RestoredJobs


class Parts:
    """All parts of one run. `opened` lets go of them; attempts that run go on then, and leave their outcomes on disk."""

    def __init__(self, run: Run, brought: Brought, opened: ExitStack) -> None:
        options, selector = brought.options, brought.selector
        self.engine = brought.engine
        self.run = run

        # What runs.
        self.flights = Flights(self.engine, run.dir)
        opened.callback(self.flights.close)

        # What all runs of this user share.
        self.tokens = _token_desk(run, options)
        opened.callback(self.tokens.close)
        parks = Parks(run.dir.home, run.tell.note)
        trials = Trials(run.dir.home, parks, options.ancestors)
        resources = Resources(run.dir.home, run.jobs_file, options.nesting, trials)
        self.missing = MissingResources(run.dir, resources)

        # From an item to a message, from an outcome to a meaning.
        contexts = ItemContexts(run.reader, run.history.header.inputs)
        loops = Loops(run.reader, contexts)
        chooser = Chooser(os.environ, trials.seconds_left, run.tell.note)
        preparer = Preparer(run.reader, contexts, loops, run.jobs_file, selector, chooser)
        messages = StartMessages(run.reader, run.jobs_file, options.nesting, preparer.replay)
        children = ChildRuns(run.reader, options.run, is_update=options.is_update)
        agent_ends = AgentEnds(run.reader, contexts, run.jobs_file)

        # What the core's decisions and the happenings are handed to.
        self.stops = Stops(run, self.flights)
        self.charges = Charges(run)
        self.settlements = Settlements(
            run, self.tokens, self.charges, lambda item: label_without_attempt(run.reader, contexts, run.job(item).id, item[1])
        )
        self.joiners = Joiners(run, self.settlements)
        self.gates = Gates(run, contexts, selector, self.settlements, options.attendant)
        self.growth = _growth(run, options)
        if self.growth is not None:
            opened.callback(self.growth.close)
        self.lists = ItemLists(run, contexts, selector, brought.restored)
        self.limits = AccountLimits(run, parks, self.missing)
        admission = Admission(run, resources, self.missing, self.engine, self.tokens)
        preparation = Preparation(preparer, messages, children)
        self.starts = AttemptStarts(run, preparation, admission, self.flights, self.settlements)
        opened.callback(self.starts.close)
        means = Means(children, preparer, agent_ends, loops)
        self.judgements = Judgements(max(2, usable_processors()))
        opened.callback(self.judgements.close)
        self.ends = AttemptEnds(run, means, self.settlements, self.limits, self.flights, self.judgements)
        self.paces = Paces(run, self.flights, self.engine.most_queued, is_alone=options.nesting is None)
        self.requests = Requests(run, self.missing, self.tokens, self.gates, self.settlements, self.stops)
        self.run_end = RunEnd(run, preparer, contexts, selector, self.tokens, self.stops)

        # Where news comes from.
        self.control = ControlServer(run.dir.path)
        opened.callback(self.control.close)
        board = WaitBoard(run.dir, messages.run_mark, options.ancestors)
        self.waits = WaitsOfRun(run, board, self.tokens, self.missing, self.flights, is_nested=options.nesting is not None)
        opened.callback(self.waits.close)
        self.signals = sources.Signals(brought.signals)
        self.attempts = sources.Attempts(self.flights, self.engine)
        self.inbox = Inbox(self._sources())
        opened.callback(self.inbox.close)

    def _sources(self) -> Sequence[Source]:
        """In the order in which each wait asks them: what has ended frees what others look for."""
        return (
            self.signals,
            sources.Durability(self.run),
            sources.HeldRun(self.run, self.control),
            self.attempts,
            sources.Answers(self.judgements),
            sources.Requests(self.control),
            sources.Terminal(self.gates),
            sources.Freed(self.run, self.missing),
            sources.Tokens(self.tokens),
            sources.Deadlocks(self.waits),
            *(() if self.growth is None else (self.growth,)),
            sources.Views(self.run.tell),
        )


def _growth(run: Run, options: SessionOptions) -> ListGrowth | None:
    if options.incoming is None:
        return None
    from orchestrator.supervisor.growth import ListGrowth

    return ListGrowth(run, options.incoming)


def _token_desk(run: Run, options: SessionOptions) -> TokenDesk:
    return TokenDesk(
        run.dir.home,
        run.id,
        is_fresh=options.run.fresh,
        ancestors=options.ancestors,
        done_here=run.reader.done_with,
        keep=lambda item, outcome: keep_outcome(run.dir, run.job(item).id, item[1], outcome),
    )
