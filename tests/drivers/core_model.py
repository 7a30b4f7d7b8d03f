"""The rules of a run once more, as plainly as they can be said: no counter, no heap, everything recounted after each event.

It shares no code with the core. Where both agree on every start, every state and the end of thousands of random runs, a
mistake would have to be made twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core import events
from orchestrator.core.events import Declined, GateEnd, Verdict
from orchestrator.core.states import JobRules, RestoredJob, Stop

Ref = tuple[int, int]
VERDICTS = {"succeeded", "failed", "skipped", "cancelled"}


@dataclass
class ModelJob:
    rules: JobRules
    words: list[str] | None = None
    """What each item is; None until listed."""
    phase: str = "blocked"  # blocked, listing, open, or a closed word
    is_skipped_whole: bool = False
    has_failed_listing: bool = False
    is_cancelled_ahead: bool = False
    unchosen: int = 0
    """So many of its items were left out when it was listed."""
    unselected: int = 0
    """And so many in all, with those that were found out later."""


@dataclass
class Model:
    rules: list[JobRules]
    slots: int
    fast_slots: int
    drain_timeout: float
    timeout_at: float | None
    jobs: list[ModelJob] = field(default_factory=list)
    failures: dict[Ref, int] = field(default_factory=dict)
    losses: dict[Ref, int] = field(default_factory=dict)
    due: dict[Ref, float] = field(default_factory=dict)
    ending: dict[Ref, str] = field(default_factory=dict)
    durable: set[Ref] = field(default_factory=set)
    halting: set[Ref] = field(default_factory=set)
    slot_of: dict[Ref, int] = field(default_factory=dict)
    held_slots: set[int] = field(default_factory=set)
    joined: set[Ref] = field(default_factory=set)
    """Of the waiting items, those that wait for what they joined."""
    asking: set[Ref] = field(default_factory=set)
    """Of the waiting items, those that wait for a choice: of a gate, or in a child run."""
    posing: set[Ref] = field(default_factory=set)
    """Of these, gates whose question is not out yet."""
    asked: list[Ref] = field(default_factory=list)
    """Gates that were told to ask after the last event."""
    is_attended: bool = False
    is_rejected: bool = False
    missing: dict[str, float] = field(default_factory=dict)
    """Resource -> when it may be tried again."""
    at_once: int | None = None
    """So many there was room for on the machine when one more found none."""
    shortages: int = 0
    deaths: int = 0
    """In a row, with less than five seconds between a wait and the next."""
    uses: dict[Ref, str] = field(default_factory=dict)
    """Of the running items: their account."""
    seen: dict[Ref, int] = field(default_factory=dict)
    """Of these: how many throttles of that account came before their start."""
    needs_account: dict[Ref, str] = field(default_factory=dict)
    """Of the waiting items: the account that they were found to need."""
    throttles: dict[str, int] = field(default_factory=dict)
    """Account -> throttles, as far as they do not count as one."""
    backoff: dict[str, float] = field(default_factory=dict)
    """Account -> seconds that it waited last, halved by each success since."""
    spared: dict[str, list[int]] = field(default_factory=dict)
    """Account that was throttled and has not recovered -> [so many at once, successes with that many]."""
    refusals: dict[Ref, int] = field(default_factory=dict)
    corrected: set[Ref] = field(default_factory=set)
    wait_ends: float = -math.inf
    stop: Stop = Stop.NO
    drain_until: float | None = None
    is_open: bool = False
    is_cancelled: bool = False
    is_timed_out: bool = False
    result: tuple[str, Ref | None] | None = None

    @classmethod
    def of(
        cls,
        rules: list[JobRules],
        slots: int,
        fast_slots: int,
        drain_timeout: float,
        timeout_at: float | None,
        restored: Mapping[int, RestoredJob],
    ) -> Model:
        model = cls(rules, slots, fast_slots, drain_timeout, timeout_at, jobs=[ModelJob(rule) for rule in rules])
        for order, past in restored.items():
            words = [type(state).__name__.lower() for state in past.states]
            for adopted in past.adopted:
                words[adopted.index] = "running"
                model.slot_of[order, adopted.index] = adopted.slot
                if adopted.account is not None:
                    model.use((order, adopted.index), adopted.account)
            model.jobs[order].words = words
            model.jobs[order].unchosen = model.jobs[order].unselected = past.unselected
            model.durable |= {(order, index) for index, word in enumerate(words) if word in VERDICTS}
            if VERDICTS.issuperset(words):
                model.jobs[order].phase = "open"
        return model

    # Questions.

    def word(self, ref: Ref) -> str:
        words = self.jobs[ref[0]].words
        assert words is not None
        return words[ref[1]]

    def refs(self, order: int, *wanted: str) -> list[Ref]:
        return [(order, i) for i, word in enumerate(self.jobs[order].words or []) if not wanted or word in wanted]

    def all_refs(self, *wanted: str) -> list[Ref]:
        return [ref for order in range(len(self.jobs)) for ref in self.refs(order, *wanted)]

    def is_closed(self, order: int) -> bool:
        return self.jobs[order].phase in VERDICTS

    def is_limited(self, order: int) -> bool:
        rules = self.rules[order]
        return rules.max_failures is not None or rules.max_failures_percent is not None

    def is_stopped(self, order: int) -> bool:
        job, rules = self.jobs[order], self.rules[order]
        if job.has_failed_listing:
            return True
        if not self.is_limited(order) or job.words is None:
            return False
        failed = len(self.refs(order, "failed"))
        if rules.max_failures is not None:
            return failed > rules.max_failures
        assert rules.max_failures_percent is not None
        return failed * 100 > rules.max_failures_percent * (len(job.words) - job.unchosen)

    def is_cleanup(self, order: int) -> bool:
        return self.rules[order].when_word is not None

    def is_over(self, order: int) -> bool:
        halted = bool(self.halting) and not self.is_cleanup(order)
        return halted or self.stop is not Stop.NO or self.is_cancelled or self.is_stopped(order)

    def dependents(self, order: int) -> list[int]:
        return [rule.order for rule in self.rules if order in rule.needs or order in rule.chain]

    def undurable(self, order: int) -> list[Ref]:
        if not self.dependents(order):
            return []
        return [ref for ref in self.refs(order, *VERDICTS) if ref not in self.durable]

    def is_past(self, ref: Ref) -> bool:
        return self.is_closed(ref[0]) or (self.word(ref) in VERDICTS and ref not in self.undurable(ref[0]))

    def chain_word(self, ref: Ref) -> str:
        """What an item of a chain may do: wait for its parents, be ready, or be skipped."""
        rules = self.rules[ref[0]]
        parents = [(parent, ref[1]) for parent in rules.chain]
        if not all(self.is_past(parent) for parent in parents):
            return "waits"
        words = [self.word(parent) for parent in parents]
        wanted = {
            None: all(word == "succeeded" for word in words),
            "always": True,
            "failed": any(word == "failed" for word in words),
        }
        return "ready" if wanted[rules.when_word] else "skipped"

    def startable(self, order: int, now: float) -> list[Ref]:
        if self.jobs[order].phase != "open" or self.is_over(order):
            return []
        fresh = [r for r in self.refs(order, "pending") if not self.rules[order].chain or self.chain_word(r) == "ready"]
        return fresh + [
            ref for ref in self.refs(order, "waiting") if ref not in self.joined | self.asking and self.due[ref] <= now
        ]

    def is_short_of_something(self, order: int) -> bool:
        pool = self.rules[order].pool
        needed = {"memory", "room", f"pool {pool}", f"rate of pool {pool}"}
        return bool(needed & self.missing.keys())

    def account_of(self, ref: Ref) -> str | None:
        """The account that a waiting or pending item is to use, as far as that is known."""
        if ref in self.needs_account:
            return self.needs_account[ref]
        accounts = self.rules[ref[0]].accounts
        unparked = [each for each in accounts if not {f"limit of {each}", f"trial of {each}"} & self.missing.keys()]
        tried = [each for each in accounts if f"trial of {each}" in self.missing]
        by_reset = sorted(accounts, key=lambda each: self.missing.get(f"limit of {each}", 0.0))
        return (unparked + tried + by_reset or [None])[0]

    def may_use(self, order: int, account: str | None) -> bool:
        if account is None:
            return True
        running = len([ref for ref in self.all_refs("running") if self.uses.get(ref) == account])
        if account in self.spared and running >= self.spared[account][0]:
            return False
        held = {f"trial of {account}", f"rate limit of {account}"}
        if self.rules[order].on_usage_limit == "wait":
            held.add(f"limit of {account}")
        return not held & self.missing.keys()

    def use(self, ref: Ref, account: str) -> None:
        self.uses[ref] = account
        self.seen[ref] = self.throttles.get(account, 0)

    def has_lane_room(self, order: int) -> bool:
        if not self.fast_slots:
            return True
        lane = self.rules[order].lane
        running = [ref for ref in self.all_refs("running") if self.rules[ref[0]].lane == lane]
        return len(running) < (self.fast_slots if lane == "fast" else self.slots - self.fast_slots)

    def free_slots(self) -> list[int]:
        return [slot for slot in range(self.slots) if slot not in self.held_slots and slot not in self.slot_of.values()]

    def moves(self, order: int) -> bool:
        """Whether something of the job runs, is being listed or recorded, or will start without another job's doing."""
        job = self.jobs[order]
        if self.refs(order, "running") or self.undurable(order) or job.phase == "listing" or self.has_joined(order):
            return True
        if any(ref[0] == order for ref in self.posing):
            return True
        if self.is_attended and self.rules[order].is_gate and any(ref[0] == order for ref in self.asking):
            return True
        return job.phase == "open" and bool(self.startable(order, float("inf")))

    def has_joined(self, order: int) -> bool:
        return any(ref[0] == order for ref in self.joined)

    def at_rest(self) -> set[int]:
        """The jobs that are closed, and in a halted run those that never move again: added until none is left to add."""
        found = {order for order in range(len(self.jobs)) if self.is_closed(order)}
        still = [order for order in range(len(self.jobs)) if self.halting and self.comes_to_nothing(order)]
        before = {order: (*self.rules[order].chain, *self.rules[order].needs) for order in still}
        while more := {order for order in still if found.issuperset(before[order])} - found:
            found |= more
        return found

    def comes_to_nothing(self, order: int) -> bool:
        """Of a halted run: whether the job itself does nothing more, unless the jobs that it needs or follows do."""
        may_still_open_or_close = self.is_cleanup(order) and (not self.rules[order].chain or self.jobs[order].phase == "blocked")
        return not may_still_open_or_close and not self.moves(order)

    def with_failures(self) -> set[int]:
        """The jobs that failed, or did not succeed because one before them had failed: added one by one."""
        orders = range(len(self.jobs))
        found = {o for o in orders if self.is_stopped(o) or (self.refs(o, "failed") and not self.is_limited(o))}
        behind = [order for order in orders if self.jobs[order].phase != "succeeded"]
        while more := {o for o in behind if found.intersection(self.rules[o].needs + self.rules[o].chain)} - found:
            found |= more
        return found

    def depth(self, order: int) -> int:
        """How far down a chain the job stands."""
        return max((1 + self.depth(parent) for parent in self.rules[order].chain), default=0)

    def blocks(self, order: int) -> bool:
        """Whether what needs the job is skipped: it did not succeed, or is a chain that is cut by one that it follows."""
        around = {order}
        while more := {p for o in around if self.is_cut(o) for p in self.rules[o].chain} - around:
            around |= more
        return any(self.is_no_success(each) for each in around)

    def is_cut(self, order: int) -> bool:
        return bool(self.refs(order, "skipped")) and self.rules[order].when_word is None

    def is_no_success(self, order: int) -> bool:
        phase = self.jobs[order].phase
        if phase == "failed":
            return self.is_stopped(order) or not self.rules[order].continue_on_error
        return phase == "cancelled" or (phase == "skipped" and not self.is_left_out(order))

    def is_judged(self, order: int, need: int) -> bool:
        """Whether the job's own `when` says whether it runs, whatever became of what it needs."""
        return self.rules[order].has_own_when and (self.jobs[need].phase != "failed" or need in self.rules[order].judged)

    def goes_on(self, order: int) -> bool:
        """Whether other jobs go on when an item of it fails."""
        return self.rules[order].continue_on_error or self.rules[order].keeps_going

    def is_left_out(self, order: int) -> bool:
        """Whether the selection alone has kept it from running."""
        unselected = self.jobs[order].unselected
        return self.rules[order].is_left_out or (unselected > 0 and unselected == len(self.refs(order, "skipped")))

    # What an event does.

    def apply(self, event: events.Event, now: float) -> None:  # noqa: C901  one table of all events
        self.asked = []
        match event:
            case events.RunOpened():
                self.is_open = True
            case events.ItemsListed(order, count, chosen):
                self.listed(self.jobs[order], count, chosen)
            case events.ListingFailed(order):
                self.jobs[order].has_failed_listing = True
                self.jobs[order].phase = "failed"
                if not self.goes_on(order) and not self.is_limited(order):
                    self.halt((order, 0))
            case events.ListingPutOff(order):
                self.jobs[order].phase = "blocked"
            case events.AttemptEnded(ref, verdict, until):
                self.attempt_ended(ref, verdict, until, now)
            case events.AccountTold(ref, account):
                self.use(ref, account)
            case events.StartDeclined():
                self.declined(event, now)
            case events.OutcomesDurable(refs):
                self.durable |= set(refs)
            case events.SlotFreed(slot):
                self.held_slots.remove(slot)
            case events.SlotsSet():
                self.slots, self.fast_slots = event.slots, event.fast_slots
            case events.ResourceFreed(resource):
                self.missing.pop(resource, None)
            case events.VerdictShared(refs, is_success):
                for ref in refs:
                    if not self.is_closed(ref[0]) and self.word(ref) in ("pending", "waiting"):
                        self.put(ref, "succeeded" if is_success else "failed")
            case events.JoinEnded(refs):
                for ref in refs:
                    if ref in self.joined:
                        self.wait_or_end(ref, now)
            case events.GateTold(ref, how):
                if ref in self.asking:
                    self.told(ref, how)
            case events.ChildAnswered(ref):
                if ref in self.asking and not self.rules[ref[0]].is_gate:
                    self.asking.remove(ref)
                    self.due[ref] = now
            case events.LeftAlone():
                self.is_attended = False
            case events.StopAsked(how):
                self.stopped(how, now)
            case events.CancelAsked(None):
                self.is_cancelled = True
                for ref in self.all_refs("waiting"):
                    self.put(ref, "cancelled")
                self.end_all("cancel")
            case events.CancelAsked(refs):
                for ref in refs or ():
                    if self.jobs[ref[0]].words is None:
                        self.cancel_ahead(ref[0])
                    elif self.word(ref) == "running":
                        self.ending.setdefault(ref, "cancel")
                    elif self.word(ref) in ("pending", "waiting"):
                        self.put(ref, "cancelled")
            case events.TimePassed():
                pass
        if self.timeout_at is not None and now >= self.timeout_at and not self.is_timed_out:
            self.is_timed_out = True
            self.stopped(Stop.DRAIN, now)
            self.drain_until = now if self.stop is Stop.DRAIN else None
        if self.drain_until is not None and now >= self.drain_until:
            self.drain_until = None
            self.end_all("drain")
        self.missing = {resource: until for resource, until in self.missing.items() if until > now}

    def listed(self, job: ModelJob, count: int, chosen: tuple[range, ...] | None) -> None:
        word = "cancelled" if job.is_cancelled_ahead else "pending"
        job.words = [word if chosen is None or any(i in each for each in chosen) else "skipped" for i in range(count)]
        job.unchosen = job.unselected = job.words.count("skipped")
        self.durable |= set(self.refs(job.rules.order, "skipped"))
        self.begin(job.rules.order)

    def put(self, ref: Ref, word: str) -> None:
        words = self.jobs[ref[0]].words
        assert words is not None
        words[ref[1]] = word
        self.ending.pop(ref, None)
        self.joined.discard(ref)
        self.asking.discard(ref)
        self.posing.discard(ref)
        self.needs_account.pop(ref, None)
        if word != "running":
            self.slot_of.pop(ref, None)
            self.uses.pop(ref, None)
        if word == "failed":
            order = ref[0]
            if self.is_limited(order):
                if self.is_stopped(order):
                    self.interrupt(self.refs(order, "waiting"))
            elif not self.goes_on(order):
                self.halt(ref)

    def told(self, ref: Ref, how: GateEnd) -> None:
        """What came of the question of a gate."""
        self.posing.discard(ref)
        words = {GateEnd.APPROVED: "succeeded", GateEnd.SKIPPED: "skipped", GateEnd.REFUSED: "failed"}
        if how in words:
            self.put(ref, words[how])
        elif how is GateEnd.UNSELECTED:
            self.jobs[ref[0]].unselected += 1
            self.put(ref, "skipped")
        elif how is GateEnd.REJECTED and self.rules[ref[0]].on_reject == "abort":
            self.is_rejected = True
            self.put(ref, "failed")
            self.halt(ref)
        elif how is GateEnd.REJECTED and self.rules[ref[0]].on_reject == "skip":
            self.put(ref, "skipped")
        elif how is GateEnd.REJECTED:
            self.ask(ref)

    def ask(self, ref: Ref) -> None:
        self.put(ref, "waiting")
        self.asking.add(ref)
        self.posing.add(ref)
        self.asked.append(ref)

    def cancel_ahead(self, order: int) -> None:
        job = self.jobs[order]
        if job.rules.is_single and not self.is_closed(order):
            job.is_cancelled_ahead = True
            job.phase = "listing"

    def halt(self, ref: Ref) -> None:
        self.halting.add(ref)
        self.interrupt([waiting for waiting in self.all_refs("waiting") if not self.is_cleanup(waiting[0])])

    def interrupt(self, waiting: list[Ref]) -> None:
        """What waits to be started. Who joined starts nothing, and may still share a verdict."""
        for ref in waiting:
            if ref not in self.joined:
                self.put(ref, "interrupted")

    def wait_or_end(self, ref: Ref, due: float) -> None:
        """Nothing came of a start, or of what it joined: it waits, if it may still start, else it has its end."""
        if self.ending.get(ref) == "cancel":
            self.put(ref, "cancelled")
        elif self.is_over(ref[0]) or ref in self.ending:
            self.put(ref, "interrupted")
        else:
            self.put(ref, "waiting")
            self.due[ref] = due

    def end_all(self, word: str) -> None:
        for ref in self.all_refs("running"):
            self.ending.setdefault(ref, word)

    def stopped(self, how: Stop, now: float) -> None:
        if how.value <= self.stop.value:
            return
        self.stop = how
        for ref in self.all_refs("waiting"):
            self.put(ref, "interrupted")
        self.drain_until = now + self.drain_timeout if how is Stop.DRAIN else None
        if how in (Stop.NOW, Stop.KILL):
            self.end_all("drain")

    def attempt_ended(self, ref: Ref, verdict: Verdict, until: float | None, now: float) -> None:
        account = self.uses.get(ref)
        is_well = verdict in (Verdict.SUCCEEDED, Verdict.ROUND, Verdict.CORRECTABLE)
        if account is not None and is_well and self.seen[ref] == self.throttles.get(account, 0):
            self.bore(account)
        rules = self.rules[ref[0]]
        self.missing.pop("room", None)
        self.missing.pop(f"pool {rules.pool}", None)
        wait = 0.0
        self.deaths *= verdict in (Verdict.NOT_BEGUN, Verdict.SHORTAGE)
        match verdict:
            case Verdict.PAUSED:
                self.wait_or_end(ref, math.inf)
                if self.word(ref) == "waiting":
                    self.asking.add(ref)
                return None
            case Verdict.SUCCEEDED | Verdict.HOPELESS | Verdict.CANCELLED:
                final = {Verdict.SUCCEEDED: "succeeded", Verdict.HOPELESS: "failed", Verdict.CANCELLED: "cancelled"}
                return self.put(ref, final[verdict])
            case Verdict.THROTTLED | Verdict.PARKED:
                return self.refused(ref, account, verdict, until, now)
            case Verdict.CORRECTABLE if ref not in self.corrected:
                self.corrected.add(ref)
                self.losses[ref] = self.refusals[ref] = 0
            case Verdict.FAILED | Verdict.CORRECTABLE:
                self.losses[ref] = self.refusals[ref] = 0
                tried = self.failures[ref] = self.failures.get(ref, 0) + 1
                wait = min(rules.retry_delay * rules.retry_backoff ** (tried - 1), rules.retry_max_delay)
            case Verdict.LOST:
                self.losses[ref] = self.losses.get(ref, 0) + 1
            case Verdict.SHORTAGE:
                self.found_short(now)
            case Verdict.NOT_BEGUN if self.is_last_death(now) and ref not in self.ending:
                return self.put(ref, "failed")
        is_last = self.failures.get(ref, 0) >= rules.attempts or self.losses.get(ref, 0) >= 3
        if is_last and verdict in (Verdict.FAILED, Verdict.CORRECTABLE, Verdict.LOST) and ref not in self.ending:
            return self.put(ref, "failed")
        return self.wait_or_end(ref, now + wait)

    def bore(self, account: str) -> None:
        """A success of what started after the last throttle."""
        self.backoff[account] = self.backoff.get(account, 0.0) / 2
        if self.backoff[account] < 1.0:
            self.backoff[account] = 0.0
        if account in self.spared:
            at_once, successes = self.spared[account]
            self.spared[account] = [at_once, successes + 1] if successes + 1 < at_once else [at_once + 1, 0]
            if self.spared[account][0] >= self.most(account):
                del self.spared[account]

    def most(self, account: str) -> int:
        bounds = [rules.max_concurrency or self.slots for rules in self.rules if account in rules.accounts]
        return min(self.slots, sum(bounds) if bounds else self.slots)

    def refused(self, ref: Ref, account: str | None, verdict: Verdict, until: float | None, now: float) -> None:
        self.losses[ref] = 0
        times = self.refusals[ref] = self.refusals.get(ref, 0) + 1
        due = now
        if account is None:
            due = now + (min(2.0 ** (times - 1), 300.0) if until is None else min(max(0.0, until - now), 3600.0))
        elif verdict is Verdict.PARKED:
            self.parked(account, now + 1800.0 if until is None else until)
        else:
            self.throttled(ref, account, until, now)
        if times >= 10 and ref not in self.ending:
            return self.put(ref, "failed")
        self.wait_or_end(ref, due)
        if verdict is Verdict.THROTTLED and account is not None and not self.rules[ref[0]].accounts:
            self.found_to_need(ref, account)
        return None

    def throttled(self, ref: Ref, account: str, until: float | None, now: float) -> None:
        free_at = [self.missing.get(f"rate limit of {account}", now)]
        if self.seen[ref] == self.throttles.get(account, 0):
            running = len([each for each in self.all_refs("running") if self.uses.get(each) == account])
            at_once = min(running, self.spared.get(account, [running])[0])
            self.spared[account] = [max(at_once // 2, 1), 0]
            self.throttles[account] = self.throttles.get(account, 0) + 1
            self.backoff[account] = min(max(self.backoff.get(account, 0.0) * 2, 1.0), 300.0)
            free_at.append(now + self.backoff[account])
        if until is not None:
            free_at.append(min(until, now + 3600.0))
        if max(free_at) > now:
            self.missing[f"rate limit of {account}"] = max(free_at)

    def parked(self, account: str, until: float) -> None:
        if f"limit of {account}" not in self.missing:
            for ref in [ref for ref, needed in self.needs_account.items() if needed == account]:
                del self.needs_account[ref]
                self.due[ref] = -math.inf
        self.missing[f"limit of {account}"] = until

    def found_to_need(self, ref: Ref, account: str) -> None:
        if self.word(ref) == "waiting":
            self.needs_account[ref] = account

    def is_last_death(self, now: float) -> bool:
        """Ten waits in a row that began with a death, and nothing else runs."""
        self.deaths += now >= self.wait_ends
        self.found_short(now)
        return self.deaths >= 10 and len(self.all_refs("running")) == 1

    def found_short(self, now: float) -> None:
        """Waits 0.1, 0.2, 0.4 … at most 5 s; who finds it out while it is known already does not make it longer."""
        others = len(self.all_refs("running")) - 1
        self.at_once = others if self.at_once is None else min(self.at_once, others)
        if now < self.wait_ends:
            return
        if now >= self.wait_ends + 5:
            self.shortages = 0
        self.wait_ends = self.missing["shortage"] = now + min(0.1 * 2**self.shortages, 5.0)
        self.shortages += 1

    def has_machine_room(self) -> bool:
        """As many as there was room for; and one more, if it is time to try."""
        return self.at_once is None or len(self.all_refs("running")) < self.at_once + ("shortage" not in self.missing)

    def see_trial(self, now: float) -> None:
        """The next one, if this one seems to hold, after 0.1 s."""
        running = len(self.all_refs("running"))
        if self.at_once is not None and running > self.at_once:
            self.at_once = running
            self.missing["shortage"] = now + 0.1

    def declined(self, event: events.StartDeclined, now: float) -> None:
        ref = event.item
        match event.why:
            case Declined.SKIPPED | Declined.SATISFIED | Declined.REFUSED:
                self.put(ref, event.why.value)
            case Declined.UNSELECTED:
                self.jobs[ref[0]].unselected += 1
                self.put(ref, "skipped")
            case Declined.SLOT_HELD:
                self.held_slots.add(self.slot_of[ref])
                self.wait_or_end(ref, now)
            case Declined.HELD:
                account = event.account
                if event.resource == "shortage":
                    self.found_short(now)
                elif account is not None and event.resource == f"limit of {account}":
                    self.parked(account, event.until)
                    if self.rules[ref[0]].on_usage_limit == "pause":
                        self.stopped(Stop.PAUSE, now)
                elif account is None or event.resource == f"trial of {account}":
                    self.missing[event.resource] = event.until
                self.wait_or_end(ref, now)
                if account is not None and not self.rules[ref[0]].accounts:
                    self.found_to_need(ref, account)
            case Declined.JOINS:
                self.wait_or_end(ref, math.inf)
                if self.word(ref) == "waiting":
                    self.joined.add(ref)

    # What follows from it.

    def advance(self, now: float) -> list[tuple[Ref, int]]:
        """Skip, open and close until nothing changes; then start what may start. Returns the starts and their slots, in order."""
        if not self.is_open:
            return []
        while self.skip_one() or self.close_one() or self.open_one():
            pass
        for rule in self.rules:
            for ref in self.startable(rule.order, now) if rule.is_gate else ():
                self.ask(ref)
        starts: list[tuple[Ref, int]] = []
        listing = [rule.priority for rule in self.rules if self.jobs[rule.order].phase == "listing"]
        while (free := self.free_slots()) and len(self.all_refs("running")) < self.slots and self.has_machine_room():
            candidates = [
                (-rule.priority, -self.depth(rule.order), *ref)
                for rule in self.rules
                if rule.max_concurrency is None or len(self.refs(rule.order, "running")) < rule.max_concurrency
                if all(rule.priority >= urgency for urgency in listing)
                if self.has_lane_room(rule.order) and not self.is_short_of_something(rule.order)
                for ref in self.startable(rule.order, now)
                if not rule.is_gate and self.may_use(rule.order, self.account_of(ref))
            ]
            if not candidates:
                break
            _, _, order, index = min(candidates)
            starts.append(((order, index), free[0]))
            account = self.account_of((order, index)) if self.rules[order].accounts else None
            self.put((order, index), "running")
            self.slot_of[order, index] = free[0]
            if account is not None:
                self.use((order, index), account)
            self.see_trial(now)
        if not any(self.moves(order) for order in range(len(self.jobs))):
            self.result = self.status(), self.error()
        return starts

    def begin(self, order: int) -> None:
        self.jobs[order].phase = "open"
        if self.jobs[order].is_skipped_whole:
            for ref in self.refs(order, "pending"):
                self.put(ref, "skipped")

    def skip_one(self) -> bool:
        for job in self.jobs:
            if job.phase == "open" and job.rules.chain:
                for ref in self.refs(job.rules.order, "pending"):
                    if self.chain_word(ref) == "skipped":
                        self.put(ref, "skipped")
                        return True
        return False

    def close_one(self) -> bool:
        for order, job in enumerate(self.jobs):
            if job.phase != "open" or self.undurable(order) or self.refs(order, "running") or self.has_joined(order):
                continue
            assert job.words is not None
            if self.is_stopped(order):
                job.phase = "failed"
            elif not VERDICTS.issuperset(job.words):
                continue
            elif "failed" in job.words and not self.is_limited(order):
                job.phase = "failed"
            elif "cancelled" in job.words:
                job.phase = "cancelled"
            else:
                job.phase = "skipped" if job.words and set(job.words) == {"skipped"} else "succeeded"
            return True
        return False

    def open_one(self) -> bool:
        if self.stop is not Stop.NO or self.is_cancelled:
            return False
        at_rest, with_failures = self.at_rest(), self.with_failures()
        for order, job in enumerate(self.jobs):
            rules = job.rules
            if job.phase == "blocked" and rules.is_left_out and job.words is None:
                job.phase = "skipped"
                return True
            if job.phase != "blocked" or (self.halting and not self.is_cleanup(order)):
                continue
            if not at_rest.issuperset(rules.needs):
                continue
            if not all(self.jobs[parent].words is not None or parent in at_rest for parent in rules.chain):
                continue
            if any(self.jobs[parent].words is None for parent in rules.chain):
                job.phase = "skipped"
                return True
            if rules.when_word == "failed":
                job.is_skipped_whole = not rules.chain and not with_failures.intersection(rules.needs)
            elif rules.when_word is None:
                job.is_skipped_whole = any(self.blocks(need) and not self.is_judged(order, need) for need in rules.needs)
            if job.words is not None:
                self.begin(order)
            else:
                job.phase = "skipped" if job.is_skipped_whole and not rules.is_single else "listing"
            return True
        return False

    def status(self) -> str:
        phases = [job.phase for job in self.jobs]
        is_all_closed = VERDICTS.issuperset(phases)
        if self.is_cancelled:
            return "cancelled"
        if not is_all_closed:
            if self.stop is Stop.NO and not self.halting and not self.is_timed_out:
                return "paused"
            if self.stop is Stop.NO or self.is_timed_out:
                return "failed"
            return "paused" if self.stop is Stop.PAUSE else "interrupted"
        return "failed" if {"failed", "cancelled"} & set(phases) else "completed"

    def error(self) -> Ref | None:
        if self.halting:
            return min(self.halting)
        for word in ("failed", "cancelled"):
            errors = [(self.refs(order, word) or [(order, 0)])[0] for order, job in enumerate(self.jobs) if job.phase == word]
            if errors and (word == "failed" or self.status() == "failed"):
                return min(errors)
        return None


def words_of(core: Any) -> list[list[str]]:
    """The states of a core's items, in the model's words."""
    return [[type(item).__name__.lower() for item in job.items] for job in core.jobs]
