"""The rules of a run once more, as plainly as they can be said: no counter, no heap, everything recounted after each event.

It shares no code with the core. Where both agree on every start, every state and the end of thousands of random runs, a
mistake would have to be made twice.
"""

from __future__ import annotations

from typing import Any

from drivers.core_model_events import ModelEvents
from drivers.core_model_state import VERDICTS, Ref
from orchestrator.core.states import Stop


class Model(ModelEvents):
    """A run, and what follows from each event: what is skipped, opened, closed and started."""

    def advance(self, now: float) -> list[tuple[Ref, int, bool]]:
        """Skip, open and close until nothing changes; then start what may start. Returns the starts, their slots, and whether
        they are queued, in order."""
        self.is_recalling = self.is_recalling and bool(self.queued_jobs())
        if not self.is_open:
            return []
        while self.skip_one() or self.close_one() or self.open_one():
            pass
        for rule in self.rules:
            for ref in self.startable(rule.order, now) if rule.is_gate else ():
                self.ask(ref)
        starts: list[tuple[Ref, int, bool]] = []
        wanting = {order for order in range(len(self.jobs)) if self.wants(order)}
        listing = [rule.priority for rule in self.rules if self.jobs[rule.order].phase == "listing"]
        while not self.is_recalling and (free := self.free_slots()) and self.at_work() < self.slots and self.has_machine_room():
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
            starts.append(((order, index), free[0], False))
            account = self.account_of((order, index)) if self.rules[order].accounts else None
            is_new = self.word((order, index)) == "pending" and (order, index) not in self.had_attempts
            self.put((order, index), "running")
            self.slot_of[order, index] = free[0]
            if account is not None:
                self.use((order, index), account)
            starts += self.queue_behind(order, free[0], wanting) if is_new else []
            self.see_trial(now)
        if self.low is not None and not self.is_recalling and self.word(self.low) == "running":
            slot = self.slot_of[self.low]
            if self.low not in self.ending and slot < self.slots:
                starts += self.queue_behind(self.low[0], slot, wanting)
        if not any(self.moves(order) for order in range(len(self.jobs))):
            self.result = self.status(), self.error()
        if (queued := self.queued_jobs()) and not self.is_recalling:
            wanting = {order for order in range(len(self.jobs)) if self.wants(order)}
            beyond = [self.slot_of[ref] for ref in self.all_refs("running") if self.slot_of[ref] >= self.slots]
            self.is_recalling = len(set(beyond)) < len(beyond) or not all(self.may_queue(order, wanting) for order in queued)
        return starts

    def queue_behind(self, order: int, slot: int, wanting: set[int]) -> list[tuple[Ref, int, bool]]:
        """The next items of the job in the same slot, while there are more than all slots could take so."""
        queued: list[tuple[Ref, int, bool]] = []
        most = self.rules[order].max_concurrency
        while self.may_queue(order, wanting):
            pending, words = self.refs(order, "pending"), self.jobs[order].words or []
            if not pending or pending[0] in self.had_attempts:
                break
            in_slot = [ref for ref in self.all_refs("running") if self.slot_of[ref] == slot]
            if len(in_slot) - 1 >= self.queue_length(order, len(words) - pending[0][1]):
                break
            if most is not None and len(self.refs(order, "running")) >= most:
                break
            self.put(pending[0], "running")
            self.slot_of[pending[0]] = slot
            queued.append((pending[0], slot, True))
        return queued

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
            elif not job.is_enough and (job.is_growing or not VERDICTS.issuperset(job.words)):
                continue
            elif (job.is_cut and not job.is_enough) or ("failed" in job.words and not self.bears_failures(order)):
                job.phase = "failed"
            elif job.is_enough:
                job.phase = "succeeded"
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
