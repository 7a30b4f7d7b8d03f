"""What each event does to the plain model of a run."""

from __future__ import annotations

import math

from drivers.core_model_ends import ModelEnds
from drivers.core_model_state import ModelJob, Ref
from orchestrator.core import events
from orchestrator.core.events import Declined, GateEnd, Verdict
from orchestrator.core.states import Stop


class ModelEvents(ModelEnds):
    """A run, event by event: one method for each thing that can happen."""

    def apply(self, event: events.Event, now: float) -> None:  # noqa: C901  one table of all events
        self.asked, self.low = [], None
        match event:
            case events.RunOpened():
                self.is_open = True
            case events.ItemsListed(order, count, chosen):
                self.jobs[order].is_growing = event.is_growing
                self.listed(self.jobs[order], count, chosen)
            case events.ItemsAdded(order, count):
                self.jobs[order].words = [*(self.jobs[order].words or []), *["pending"] * count]
                if self.jobs[order].is_enough:
                    self.give_up(order)
            case events.ListEnded(order, is_whole):
                was_stopped = self.is_stopped(order)
                self.jobs[order].is_growing, self.jobs[order].is_cut = False, not is_whole
                if self.is_limited(order) and not was_stopped:
                    self.heed_failures(order)
                elif self.counts_failures(order):
                    self.heed_count(order)
                self.heed_goal(order)
            case events.ListingFailed(order):
                self.jobs[order].has_failed_listing = True
                self.jobs[order].phase = "failed"
                bears = self.is_limited(order) or self.counts_failures(order) or self.has_goal(order)
                if not self.goes_on(order) and not bears:
                    self.halt((order, 0))
            case events.ListingPutOff(order):
                self.jobs[order].phase = "blocked"
            case events.AttemptEnded(ref, verdict, until):
                self.attempt_ended(ref, verdict, until, now)
            case events.AccountTold(ref, account):
                self.use(ref, account)
            case events.StartDeclined():
                self.declined(event, now)
            case events.StartReturned(ref):
                # Nobody hears of a start that never was; but who asked for its end was told that it has come.
                self.put(ref, "cancelled" if self.ending.get(ref) == "cancel" else "pending")
            case events.MoreAsked(ref):
                self.low = ref
            case events.PaceTold(order, queue_length):
                self.pace[order] = queue_length
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
                for ref in [*self.all_refs("waiting"), *self.all_refs("interrupted")]:
                    self.put(ref, "cancelled")
                self.end_all("cancel")
            case events.CancelAsked(refs):
                for ref in refs or ():
                    if self.jobs[ref[0]].words is None:
                        self.cancel_ahead(ref[0])
                    elif self.word(ref) == "running":
                        self.ending.setdefault(ref, "cancel")
                    elif self.word(ref) in ("pending", "waiting", "interrupted"):
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

    def cancel_ahead(self, order: int) -> None:
        job = self.jobs[order]
        if job.rules.is_single and not self.is_closed(order):
            job.is_cancelled_ahead = True
            job.phase = "listing"

    def stopped(self, how: Stop, now: float) -> None:
        if how.value <= self.stop.value:
            return
        self.stop = how
        for ref in self.all_refs("waiting"):
            self.put_off(ref)
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
                self.found_short(ref, now)
            case Verdict.NOT_BEGUN if self.is_last_death(ref, now) and self.may_fail(ref):
                return self.put(ref, "failed")
        is_last = self.failures.get(ref, 0) >= rules.attempts or self.losses.get(ref, 0) >= 3
        if is_last and verdict in (Verdict.FAILED, Verdict.CORRECTABLE, Verdict.LOST) and self.may_fail(ref):
            return self.put(ref, "failed")
        return self.wait_or_end(ref, now + wait)

    def may_fail(self, ref: Ref) -> bool:
        """Nobody has asked for its end before it failed, or only a halt has."""
        return self.ending.get(ref) in (None, "halt")

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
        if times >= 10 and self.may_fail(ref):
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

    def is_last_death(self, ref: Ref, now: float) -> bool:
        """Ten waits in a row that began with a death, and nothing else runs."""
        self.deaths += now >= self.wait_ends
        self.found_short(ref, now)
        return self.deaths >= 10 and len(self.all_refs("running")) == 1

    def found_short(self, ref: Ref, now: float) -> None:
        """Waits 0.1, 0.2, 0.4 … at most 5 s; who finds it out while it is known already does not make it longer."""
        others = self.at_work(ref)
        self.at_once = others if self.at_once is None else min(self.at_once, others)
        if now < self.wait_ends:
            return
        if now >= self.wait_ends + 5:
            self.shortages = 0
        self.wait_ends = self.missing["shortage"] = now + min(0.1 * 2**self.shortages, 5.0)
        self.shortages += 1

    def has_machine_room(self) -> bool:
        """As many as there was room for; and one more, if it is time to try."""
        return self.at_once is None or self.at_work() < self.at_once + ("shortage" not in self.missing)

    def see_trial(self, now: float) -> None:
        """The next one, if this one seems to hold, after 0.1 s."""
        running = self.at_work()
        if self.at_once is not None and running > self.at_once:
            self.at_once = running
            self.missing["shortage"] = now + 0.1

    def slot_held(self, ref: Ref, now: float) -> None:
        slot = self.slot_of[ref]
        self.wait_or_end(ref, now)
        # Else it is free once what is queued there is given back, and is tried anew.
        if slot not in self.slot_of.values():
            self.held_slots.add(slot)

    def declined(self, event: events.StartDeclined, now: float) -> None:
        ref = event.item
        match event.why:
            case Declined.SKIPPED | Declined.SATISFIED | Declined.REFUSED:
                self.put(ref, event.why.value)
            case Declined.UNSELECTED:
                self.jobs[ref[0]].unselected += 1
                self.put(ref, "skipped")
            case Declined.SLOT_HELD:
                self.slot_held(ref, now)
            case Declined.HELD:
                account = event.account
                if event.resource == "shortage":
                    self.found_short(ref, now)
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
