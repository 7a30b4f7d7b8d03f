"""What the plain model of a run knows, and what can be asked of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import RestoredJob, Stop

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
    is_growing: bool = False
    is_cut: bool = False
    """Its list grew, and not to its end."""
    is_enough: bool = False
    """As many have ended as its `halt` wants."""


@dataclass
class ModelState:
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
    pace: dict[int, int] = field(default_factory=dict)
    """By job how many may be queued behind one."""
    had_attempts: set[Ref] = field(default_factory=set)
    """Of items that another supervisor has tried."""
    is_recalling: bool = False
    low: Ref | None = None
    """Of this event: what runs with little queued behind it."""

    @classmethod
    def of(
        cls,
        rules: list[JobRules],
        slots: int,
        fast_slots: int,
        drain_timeout: float,
        timeout_at: float | None,
        restored: Mapping[int, RestoredJob],
    ) -> Self:
        model = cls(rules, slots, fast_slots, drain_timeout, timeout_at, jobs=[ModelJob(rule) for rule in rules])
        for order, past in restored.items():
            words = [type(state).__name__.lower() for state in past.states]
            for adopted in past.adopted:
                words[adopted.index] = "running"
                model.slot_of[order, adopted.index] = adopted.slot
                if adopted.account is not None:
                    model.use((order, adopted.index), adopted.account)
            model.jobs[order].words = words
            model.had_attempts |= {(order, index) for index in past.attempts}
            model.jobs[order].unchosen = model.jobs[order].unselected = past.unselected
            model.jobs[order].is_cut = past.is_cut
            model.durable |= {(order, index) for index, word in enumerate(words) if word in VERDICTS}
            model.jobs[order].is_enough = model.has_reached_goal(order)
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
        return not job.is_growing and failed * 100 > rules.max_failures_percent * (len(job.words) - job.unchosen)

    def halts_at(self, order: int) -> float:
        """So many items are enough, as its `halt` counts them; infinite: of no number is it known."""
        job, halt = self.jobs[order], self.rules[order].halt
        if halt is None or job.words is None:
            return math.inf
        if halt.percent is not None:
            of_all = len(job.words) - job.unchosen
            return math.inf if job.is_growing else next(n for n in range(1, of_all + 2) if n * 100 >= halt.percent * of_all)
        return math.inf if halt.count is None else halt.count

    def has_goal(self, order: int) -> bool:
        halt = self.rules[order].halt
        return halt is not None and halt.why in ("success", "done")

    def has_reached_goal(self, order: int) -> bool:
        halt = self.rules[order].halt
        words = ("succeeded", "failed") if halt is not None and halt.why == "done" else ("succeeded",)
        return self.has_goal(order) and len(self.refs(order, *words)) >= self.halts_at(order)

    def counts_failures(self, order: int) -> bool:
        halt = self.rules[order].halt
        is_counted = halt is not None and halt.why == "fail" and (halt.count is not None or halt.percent is not None)
        return is_counted and not self.goes_on(order)

    def bears_failures(self, order: int) -> bool:
        halt = self.rules[order].halt
        return self.is_limited(order) or (self.jobs[order].is_enough and halt is not None and halt.why == "success")

    def ends_at_once(self, order: int) -> bool:
        halt = self.rules[order].halt
        return halt is not None and halt.is_now

    def is_cleanup(self, order: int) -> bool:
        return self.rules[order].when_word is not None

    def is_over(self, order: int) -> bool:
        halted = bool(self.halting) and not self.is_cleanup(order)
        return halted or self.stop is not Stop.NO or self.is_cancelled or self.is_stopped(order) or self.jobs[order].is_enough

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

    def at_work(self, *besides: Ref) -> int:
        """In how many slots something runs; what is queued there does not count."""
        return len({self.slot_of[ref] for ref in self.all_refs("running") if ref not in besides})

    def queued_jobs(self) -> set[int]:
        """The jobs of which more run than have slots, as far as the slots go: those are queued."""
        slots = [(self.slot_of[ref], ref[0]) for ref in self.all_refs("running")]
        return {order for slot, order in slots if sum(other == slot for other, _ in slots) > 1}

    def wants(self, order: int) -> bool:
        """Whether an item of the job can start, now or later, without anybody's doing but the clock's or a verdict's."""
        has_joined = self.has_joined(order) and not self.is_over(order) and self.jobs[order].phase == "open"
        return bool(self.startable(order, math.inf)) or has_joined

    def may_queue(self, order: int, wanting: set[int]) -> bool:
        rules = self.rules[order]
        if self.has_goal(order):
            return False
        if self.missing or self.at_once is not None or self.fast_slots or any(job.phase == "listing" for job in self.jobs):
            return False
        if rules.is_gate or rules.pool or rules.accounts or rules.chain or any(order in each.chain for each in self.rules):
            return False
        if any(ref not in self.asking for ref in self.refs(order, "waiting")) or self.is_over(order):
            return False
        return wanting <= {order}

    def queue_length(self, order: int, left: int) -> int:
        """How many of the job may be queued in each slot, of which so many are left: half of them in all at most."""
        most = self.rules[order].max_concurrency
        pace = self.pace.get(order, 0)
        share = int(left / 2 / self.slots + 0.5)
        return min(pace, share) if most is None else min(pace, share, most // self.slots - 1)

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
        if job.is_growing and not self.is_over(order):
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
        found = {o for o in orders if self.is_stopped(o) or (self.refs(o, "failed") and not self.bears_failures(o))}
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

    def use(self, ref: Ref, account: str) -> None:
        self.uses[ref] = account
        self.seen[ref] = self.throttles.get(account, 0)
