"""Requests to a living supervisor (`control`), turned into events of the core and into replies in words.

Promise: a reply is sent after what was asked is recorded or told to the core. Nothing here waits for what comes of it. Who steers
the run is told in supervisor.log; who may not do so is refused, whatever door the request came by.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import assert_never

from orchestrator.attempts.workspaces.assignment import followers
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
    WhyItWaits,
)
from orchestrator.control.named_items import NO_RANGES, NoSuchItem, Ranges, all_items, ends_of
from orchestrator.control.permits import NotPermitted, check_permit, may_steer, steers
from orchestrator.control.requester import Requester
from orchestrator.core import events
from orchestrator.core.costs import MOST_DOLLARS, MOST_TOKENS
from orchestrator.core.events import CancelAsked, ChildAnswered
from orchestrator.core.parking import usage_limit
from orchestrator.core.scheduling import split_slots
from orchestrator.core.states import ItemRef, Stop
from orchestrator.jobsfile.language.quantities import MOST_SLOTS
from orchestrator.reading.money.budgets import bounds_of, budget_set, in_words
from orchestrator.shared.nesting.borrowing import change_slot_count
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store import records, settings_records
from orchestrator.supervisor.gates import Gates
from orchestrator.supervisor.resources import MissingResources
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.settlements import Settlements
from orchestrator.supervisor.stops import Stops
from orchestrator.system.fence import passes_fence
from orchestrator.system.run_log import append_log
from orchestrator.system.wording import how_many, shown
from orchestrator.workers.byte_text import encode_json

_LONGEST_SHOWN = 300
"""Characters of a request in supervisor.log."""
_MOST_TOLD = 100
"""Items that are told to have tried to steer: what a process says of its item may be anything where its worker was killed."""


class Requests:
    """Of one run."""

    def __init__(
        self,
        run: Run,
        missing: MissingResources,
        tokens: TokenDesk,
        gates: Gates,
        settlements: Settlements,
        stops: Stops,
    ) -> None:
        self._run = run
        self._run_id = run.id
        self._missing = missing
        self._tokens = tokens
        self._gates = gates
        self._settlements = settlements
        self._stops = stops
        self._refused: set[str] = set()
        """Items that have tried to steer: each is told of once, however often it tries."""

    def obey(self, request: Request, requester: Requester) -> Reply:
        """Have it done, or say why not."""
        try:
            check_permit(requester, request, self._run.dir.path)
            if steers(request):
                append_log(self._run.dir.log, f"asked by {requester.words}: {_shown(request)}")
            return self._obey(request, requester)
        except NotPermitted as error:
            self._tell_refused(request, requester)
            return Reply(False, f"run {self._run_id}: {error.message}; {error.hint}")
        except NoSuchItem as error:
            return Reply(False, f"run {self._run_id} has no {error}")
        except Exception as error:
            if passes_fence(error):
                raise
            # Another program may have sent what no command of ours asks: it is told, and the run goes on.
            return Reply(False, f"run {self._run_id}: {self._run.tell.fenced(f'a request: {type(request).__name__}', error)}")

    def _tell_refused(self, request: Request, requester: Requester) -> None:
        """A person should know that something in an item tries to steer the run."""
        if requester.item not in self._refused and len(self._refused) < _MOST_TOLD:
            self._refused.add(requester.item)
            who = requester.inside[-1].words if requester.inside else requester.words
            self._run.tell.note(f"{who} wanted to steer this run, and was refused: {_shown(request)}", is_warning=True)

    def _obey(self, request: Request, requester: Requester) -> Reply:
        # A request names items by job id and index; the core by the order of the job.
        match request:
            case StopRequest() | Pause():
                return self._wind_down(request)
            case Flush():
                self._run.recorder.take_checkpoint()
                return Reply(True, f"all that has ended is durable (generation {self._run.history.generation})")
            case SetSlots(slots):
                return self._set_slots(slots)
            case SetBudget():
                return self._set_budget(request)
            case CancelRequest(items, replaced_by, ranges):
                refs = None if items is None else self._refs(items, ranges)
                # In an item it may cancel for a token alone: before anything is cancelled.
                if not may_steer(requester) and replaced_by is not None and (name := self._without_token(refs)):
                    return Reply(False, f"run {self._run_id}: {name} has no token that {replaced_by} could take")
                return self._cancel(refs, replaced_by)
            case Approve(items, choice, message, ranges):
                return self._gates.answer(self._refs(items, ranges), choice, message, requester)
            case GoOn(item):
                return self._go_on(*self._refs([item]))
            case RetryRequest():
                return self._retry(request)
            case Explain(items):
                return Reply(True, "", [self._explain(item) for item in self._refs(items)])
            case CountWaiting():
                core = self._run.core
                return Reply(True, "", waiting=core.waiting_counts, spared=core.spared_now(time.monotonic()))
            case unknown:
                assert_never(unknown)

    @property
    def _running_words(self) -> str:
        running = self._run.core.running_count
        return "1 item still runs" if running == 1 else f"{running} items still run"

    def _set_slots(self, slots: int) -> Reply:
        if self._run.is_inline:
            return Reply(False, f"run {self._run_id} runs inline (slots = 0): stop it, and resume it with --slots {slots}")
        # What asks for more is another program: the command line does not let it through.
        if not 1 <= slots <= MOST_SLOTS:
            return Reply(False, f"a run has 1 to {MOST_SLOTS} slots")
        self._run.recorder.add(settings_records.SlotsSet(slots=slots))
        fast_slots = split_slots(slots, self._run.jobs_file.run.fast_slots, self._run.core.lanes)
        change_slot_count(self._run.dir, slots - fast_slots)
        self._run.happened(events.SlotsSet(slots, fast_slots))
        return Reply(True, f"run {self._run_id} has {how_many(slots, 'slot')} now; {self._running_words}")

    def _set_budget(self, asked: SetBudget) -> Reply:
        """The core hears of all bounds of the run or the job, as they are with this one."""
        if asked.job and asked.job not in self._run.history.jobs:
            return Reply(False, f"run {self._run_id} has no job {asked.job!r}")
        most = MOST_DOLLARS if asked.kind == "budget_usd" else MOST_TOKENS
        if not 0 <= asked.amount <= most:
            return Reply(False, f"{asked.kind}: expected a number from 0 to {most}")
        order = self._run.order(asked.job) if asked.job else None
        table = self._run.jobs_file.run if order is None else self._run.jobs_file.jobs[order]
        record = budget_set(asked.kind, asked.amount, asked.job, table)
        self._run.recorder.add(record)
        # The bounds that hold are read from the history, with this one in it.
        self._run.recorder.commit()
        self._run.happened(events.BudgetSet(order, bounds_of(table, asked.job, self._run.history.budgets_set)))
        return Reply(True, f"run {self._run_id} has {in_words(record)} now")

    def _refs(self, items: Sequence[tuple[str, int]], ranges: Ranges = NO_RANGES) -> list[ItemRef]:
        """The items that a request names, as the core names them. Raises NoSuchItem: another program may have sent it."""
        # Before the ranges are spelled out: they may go to the end of the world.
        for job_id, start, end in (*((job, index, index + 1) for job, index in items), *ends_of(ranges)):
            if job_id not in self._run.history.jobs:
                raise NoSuchItem(f"job {job_id!r}")
            if not 0 <= start <= end <= max(self._run.reader.count(job_id), 1):
                raise NoSuchItem(f"items {job_id}:{start} to {end - 1}" if end - start > 1 else f"item {job_id}:{start}")
        return [self._run.ref(job_id, index) for job_id, index in all_items(items, ranges)]

    def _without_token(self, items: Sequence[ItemRef] | None) -> str:
        """The name of the first of these that has no token; empty: each has one."""
        refs = (item for item in items or () if not self._run.history.holds_token(self._run.job(item).id, item[1]))
        return next(map(self._run.name, refs), "")

    def _cancel(self, items: Sequence[ItemRef] | None, replaced_by: str | None) -> Reply:
        if items is None:
            self._run.recorder.add(records.CancelTold(at=time.time()))
            self._run.happened(CancelAsked(None))
            return Reply(True, f"run {self._run_id} is being cancelled; a resume would run only what has not begun")
        if replaced_by is not None:
            for item in items:
                self._settlements.replaced(item, replaced_by)
        self._run.happened(CancelAsked(tuple(items)))
        # What has ended stays as it is.
        count = sum(not self._run.core.has_ended(item) for item in items)
        if not count:
            return Reply(True, f"nothing to cancel: {'it has' if len(items) == 1 else f'all {len(items)} items have'} ended")
        return Reply(True, f"{count} item{' is' if count == 1 else 's are'} being cancelled")

    def _wind_down(self, request: StopRequest | Pause) -> Reply:
        if isinstance(request, StopRequest):
            self._stops.asked_by(signal.SIGTERM)
            self._stops.ask(Stop.NOW if request.now else Stop.DRAIN)
            return Reply(True, f"run {self._run_id} is stopping; {self._running_words}")
        if self._run.core.stop.value > Stop.PAUSE.value:
            return Reply(False, f"run {self._run_id} is stopping already")
        self._stops.ask(Stop.PAUSE)
        return Reply(True, f"run {self._run_id} is being paused; {self._running_words}")

    def _retry(self, request: RetryRequest) -> Reply:
        refs = self._refs(request.items, request.ranges)
        refusal = self._run.core.why_not_again(refs) or self._who_goes_on_there(refs)
        if refusal:
            return Reply(False, f"run {self._run_id}: {refusal}")
        from orchestrator.supervisor.reopenings import retries

        for record in retries(self._run.history, request):
            self._run.recorder.add(record)
        self._gates.reopen(*self._run.core.to_reopen(refs))
        return Reply(True, f"run {self._run_id} runs {how_many(len(refs), 'item')} again")

    def _who_goes_on_there(self, items: list[ItemRef]) -> str:
        """Whether an item that goes on in the workspace of one of these is at work in it, in words; empty: none is."""
        after = followers({job.id: job for job in self._run.jobs})
        for item in items:
            job_id = self._run.job(item).id
            while job_id := after.get(job_id, ""):
                follower = self._run.ref(job_id, item[1])
                if not self._run.core.is_listed(follower[0]):
                    break
                if self._run.core.is_in_motion(follower):
                    return f"{job_id}:{item[1]} goes on in its workspace: cancel that first, or wait for its end"
        return ""

    def _go_on(self, item: ItemRef) -> Reply:
        if self._run.core.is_over(item[0]):
            return Reply(True, f"run {self._run_id} is ending, and a resume of it goes on from there")
        self._run.happened(ChildAnswered(item))
        return Reply(True, f"run {self._run_id} goes on with it")

    def _explain(self, item: ItemRef) -> WhyItWaits:
        joined = self._settlements.joined(item)
        if joined is not None:
            return WhyItWaits(joined.words, self._tokens.holder_pids(item), is_waiting=True)
        core = self._run.core
        words = core.why_it_waits(item, time.monotonic())
        resource = core.waiting_resource(item)
        notes = self._missing.notes(resource) if resource is not None else []
        if resource is not None and (limit := self._missing.limit_words(resource)) is not None:
            words = f"{words}: it holds {limit}"
        for other in core.limits_waited_for(item)[1:]:
            if (limit := self._missing.limit_words(usage_limit(other))) is not None:
                words = f"{words}, that of {other} {limit}"
        held_by = [note.partition(" ")[0] for note in notes if note]
        told = f"{words} (held by {', '.join(dict.fromkeys(held_by))})" if held_by else words
        return WhyItWaits(told, is_waiting=core.is_waiting(item))


def _shown(request: Request) -> str:
    """The request on one line, cut where it is long."""
    return shown(encode_json(request).decode(), _LONGEST_SHOWN)
