"""Random runs, told to the core and to a model of its own: both must decide the same, step by step, to the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from drivers.core_driver import START_OF_TIME, CoreDriver
from drivers.core_model import Model, words_of
from drivers.core_model_state import Ref
from drivers.core_scenarios import MOODS, Scenario, fans, graphs, layers, rarely, resumed
from drivers.sweeps import examples
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from orchestrator.core.decisions import AskGate, Decision, ListItems, Settle, StartAttempt
from orchestrator.core.events import CancelAsked, Declined, Event, GateEnd, ListingFailed, Verdict
from orchestrator.core.states import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    Running,
    Stop,
)


class Contest:
    """The core (through its driver) and the model hear the same events; after each they are compared, and so are plain truths."""

    def __init__(self, scenario: Scenario) -> None:
        self.rules = scenario.rules
        self.run = CoreDriver(
            scenario.rules,
            scenario.counts,
            slots=scenario.slots,
            fast_slots=scenario.fast_slots,
            durable_at_once=False,
            list_at_once=False,
            ask_at_once=False,
            is_attended=scenario.is_attended,
            drain_timeout=scenario.drain_timeout,
            timeout=scenario.timeout,
            restored=scenario.restored,
            chosen=scenario.chosen,
        )
        self.model = Model.of(
            scenario.rules,
            scenario.slots,
            scenario.fast_slots,
            scenario.drain_timeout,
            None if scenario.timeout is None else START_OF_TIME + scenario.timeout,
            {rule.order: scenario.restored[rule.id] for rule in scenario.rules if rule.id in scenario.restored},
        )
        self.model.is_attended = scenario.is_attended
        self.mood = "calm"
        self.has_halted = False
        self.is_undisturbed = True
        """No cancel has set items in motion of jobs that were at rest."""
        self.succeeded = {
            (rule.order, index)
            for rule in scenario.rules
            if rule.id in scenario.restored
            for index, state in enumerate(scenario.restored[rule.id].states)
            if state is SUCCEEDED
        }
        self._feed = self.run.feed
        self.run.feed = self.feed  # type: ignore[method-assign]

    def feed(self, event_: Event) -> list[Decision]:
        decisions = self._feed(event_)
        listing = {order for order, job in enumerate(self.model.jobs) if job.phase == "listing"}
        self.model.apply(event_, self.run.now)
        starts = self.model.advance(self.run.now)
        self.look_at(event_, decisions)
        assert [(each.item, each.slot, each.is_queued) for each in decisions if isinstance(each, StartAttempt)] == starts
        assert self.run.is_recalling == self.model.is_recalling
        assert sorted(each.item for each in decisions if isinstance(each, AskGate)) == sorted(self.model.asked)
        now_listing = {order for order, job in enumerate(self.model.jobs) if job.phase == "listing"}
        assert {each.job for each in decisions if isinstance(each, ListItems)} == now_listing - listing
        assert words_of(self.run.state) == [job.words or [] for job in self.model.jobs]
        assert self.endings() == self.model.ending
        closed = {rule.id: self.model.jobs[rule.order].phase for rule in self.rules if self.model.is_closed(rule.order)}
        assert {job_id: phase.value for job_id, phase in self.run.closed.items()} == closed
        finish = self.run.finish
        assert (None if finish is None else (finish.status, finish.error)) == self.model.result
        return decisions

    def endings(self) -> dict[Ref, str]:
        return {
            (job.rules.order, index): item.ending
            for job in self.run.state.jobs
            for index, item in enumerate(job.items)
            if isinstance(item, Running) and item.ending is not None
        }

    def look_at(self, event_: Event, decisions: list[Decision]) -> None:
        """Truths that are seen without any model of the rules."""
        starts = [each.item for each in decisions if isinstance(each, StartAttempt)]
        settled = [each for each in decisions if isinstance(each, Settle)]
        self.succeeded |= {each.item for each in settled if each.state is SUCCEEDED}
        self.has_halted |= any(each.state is FAILED and not self.rules[each.item[0]].tolerates_failures for each in settled)
        self.has_halted |= isinstance(event_, ListingFailed) and not self.rules[event_.job].tolerates_failures
        self.is_undisturbed &= not isinstance(event_, CancelAsked)
        self.look_at_bounds(starts)
        not_durable = {self.run.ref(item) for item in self.run.not_durable}
        moving = {self.run.ref(item)[0] for item in self.run.running} | {order for order, _ in not_durable}
        for order, index in starts:
            rules = self.rules[order]
            assert (order, index) not in self.succeeded, "a succeeded item ran again"
            assert not (self.has_halted and rules.when_word is None), "an item started after the halt"
            if self.is_undisturbed:
                assert not moving & set(rules.needs), "an item started before what it needs was at rest"
                parents = {(parent, index) for parent in rules.chain}
                assert not parents & not_durable, "a chain item ran before its parent was durable"

    def look_at_bounds(self, starts: list[Ref]) -> None:
        """After a start no bound is exceeded. (More may run than there are slots: adopted, or since before they were set.)"""
        running = [self.rules[self.run.ref(item)[0]] for item in self.run.running]
        for rules in self.rules:
            assert rules.max_concurrency is None or running.count(rules) <= rules.max_concurrency
        state = self.run.state
        started_lanes = {self.rules[order].lane for order, _ in starts}
        for lane, slots in (("fast", state.fast_slots), ("main", state.slots - state.fast_slots)):
            in_lane = sum(rules.lane == lane for rules in running)
            assert in_lane <= slots or lane not in started_lanes or not state.fast_slots, f"more than {slots} in the {lane} lane"
        assert state.at_work <= state.slots or not starts

    # The random supervisor.

    def play(self, data: st.DataObject, steps: int, moods: Sequence[str]) -> None:
        """At most `steps` random events in one of these moods, then everything is let finish well."""
        self.mood = data.draw(st.sampled_from(moods))
        before_open = data.draw(st.integers(0, 2)) if self.run.running else 0
        for _ in range(min(before_open, len(self.run.running))):
            self.end(data)
        self.run.open()
        if self.mood == "quick" and self.run.finish is None:
            self.run.tell_pace(self.rules[0].id, 3)
        for _ in range(steps):
            if self.run.finish is not None:
                break
            self.step(data)
        self.let_finish()

    def step(self, data: st.DataObject) -> None:
        run = self.run
        actions: list[Callable[[st.DataObject], None]] = []
        if run.running:
            actions += [self.end] * 6 + [self.decline] * (1 if self.mood in ("calm", "quick") else 5)
        if self.without_account() and self.mood == "limited":
            actions += [self.tell_account] * 6
        if run.to_list:
            actions += [self.list_job] * 3
        if any(job.is_growing for job in self.model.jobs):
            actions += [self.grow_list] * 3
        if run.not_durable:
            actions += [self.make_durable] * 3
        if run.held_slots:
            actions += [self.free_slot] * 2
        if run.joining:
            actions += [self.share] * 3 + [self.end_join]
        if self.gates_asking():
            actions += [self.choose] * 3
        if self.model.asking:
            actions += [self.answer_child]
        if run.state.holds:
            actions += [self.free_resource] * 2
        actions += {"resized": [self.set_slots] * 2, "quick": [self.tell_pace] * 4}.get(self.mood, [])
        actions += [self.give_back] * 3 if run.queued else []
        actions += [self.ask_more] * (4 if self.mood == "quick" else 1) if run.running else []
        actions += [self.pass_time] * 2 + [self.ask]
        data.draw(st.sampled_from(actions))(data)

    def end(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.at_work()))
        verdicts = [Verdict.SUCCEEDED] * 8 + [Verdict.FAILED] * 3 + [Verdict.HOPELESS, Verdict.LOST, Verdict.PAUSED]
        verdicts += [Verdict.CORRECTABLE] * 2
        # What fails ends most queues.
        verdicts += [Verdict.SUCCEEDED] * (40 if self.mood == "quick" else 0)
        verdicts += [Verdict.SHORTAGE] * (12 if self.mood == "short" else 1)
        verdicts += [Verdict.NOT_BEGUN] * (6 if self.mood == "short" else 1)
        verdicts += [Verdict.THROTTLED, Verdict.THROTTLED, Verdict.PARKED] * (5 if self.mood == "limited" else 1)
        ending = self.endings().get(self.run.ref(item))
        if ending is not None:
            verdicts += [Verdict.CANCELLED if ending == "cancel" else Verdict.DRAINED] * 5
        self.run.end(item, data.draw(st.sampled_from(verdicts)), seconds=data.draw(st.sampled_from([None, None, 0.0, 4.0])))

    def at_work(self) -> list[str]:
        """What runs, and is not queued."""
        return [item for item in self.run.running if item not in self.run.queued]

    def give_back(self, data: st.DataObject) -> None:
        """What is queued in a slot, after an end that was not well, or because its time is over."""
        slot = self.run.running[data.draw(st.sampled_from(self.run.queued))][1]
        self.run.give_back(*[item for item in self.run.queued if self.run.running[item][1] == slot])

    def ask_more(self, data: st.DataObject) -> None:
        """What runs says that little is queued behind it. Also of what was queued until this very event."""
        self.run.ask_more(data.draw(st.sampled_from(self.at_work())))

    def tell_pace(self, data: st.DataObject) -> None:
        """Mostly of the first job: there is a queue only where nothing else wants to start."""
        job_id = data.draw(st.sampled_from([self.rules[0].id, *(rule.id for rule in self.rules)]))
        self.run.tell_pace(job_id, data.draw(st.sampled_from([0, 1, 1, 3])))

    def tell_account(self, data: st.DataObject) -> None:
        """The attempt of an item that finds out its account at its start."""
        self.run.tell_account(data.draw(st.sampled_from(self.without_account())), data.draw(st.sampled_from("xz")))

    def without_account(self) -> list[str]:
        return [
            item for item in self.run.running if not self.rules[self.run.ref(item)[0]].accounts and item not in self.run.accounts
        ]

    def gates_asking(self) -> list[str]:
        return [self.run.name(ref) for ref in sorted(self.model.asking) if self.rules[ref[0]].is_gate]

    def answer_child(self, data: st.DataObject) -> None:
        """Also of a gate, which has no child run: then it changes nothing."""
        self.run.answer_child(self.run.name(data.draw(st.sampled_from(sorted(self.model.asking)))))

    def choose(self, data: st.DataObject) -> None:
        """Also, seldom: somebody answers who comes too late, or leaves the terminal."""
        gates = [rule.order for rule in self.rules if rule.is_gate]
        items = self.gates_asking()
        if rarely(data.draw):
            items = [self.run.name(ref) for order in gates for ref in self.model.refs(order)]
        how = data.draw(st.sampled_from([*GateEnd, *[GateEnd.APPROVED] * 4]))
        self.run.choose(data.draw(st.sampled_from(items)), how)
        if rarely(data.draw):
            self.run.leave_alone()

    def decline(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.at_work()))
        # Adopted attempts do run, and so does what was queued behind others.
        if item in self.run.started and item not in self.run.have_begun:
            often = {"joining": Declined.JOINS, "resized": Declined.SLOT_HELD}.get(self.mood, Declined.HELD)
            why = data.draw(st.sampled_from([*Declined, *[often] * 8]))
            resource, seconds, account = "", math.inf, None
            if why is Declined.HELD:
                pool = self.rules[self.run.ref(item)[0]].pool
                needed = ["memory", "room", *["shortage"] * (9 if self.mood == "short" else 1)]
                needed += [] if pool is None else [f"pool {pool}", f"rate of pool {pool}"] * 2
                resource = data.draw(st.sampled_from(needed))
                seconds = data.draw(st.sampled_from([0.0, 0.5, 3.0, math.inf, math.inf]))
                if self.mood == "limited":
                    account = self.run.accounts.get(item) or data.draw(st.sampled_from("xz"))
                    resource = f"{data.draw(st.sampled_from(['rate limit', 'limit', 'trial']))} of {account}"
            self.run.decline(item, why, resource, seconds=seconds, account=account)

    def share(self, data: st.DataObject) -> None:
        """Also to some that wait for something else (a deadlock is resolved so), or have ended meanwhile."""
        run = self.run
        others = [run.name(ref) for ref in self.model.all_refs() if self.model.word(ref) != "running"]
        others = [item for item in others if item not in run.joining]
        items = data.draw(st.lists(st.sampled_from(run.joining), min_size=1, unique=True))
        if others and rarely(data.draw):
            items.insert(data.draw(st.integers(0, len(items))), data.draw(st.sampled_from(others)))
        run.share(*items, is_success=data.draw(st.booleans()))

    def end_join(self, data: st.DataObject) -> None:
        self.run.end_join(*data.draw(st.lists(st.sampled_from(self.run.joining), min_size=1, unique=True)))

    def free_resource(self, data: st.DataObject) -> None:
        self.run.free_resource(data.draw(st.sampled_from(sorted(self.run.state.holds))))

    def list_job(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.run.to_list))
        if data.draw(st.integers(0, 9)) == 9:
            self.run.fail_listing(job_id)
        elif self.grows(job_id) and data.draw(st.booleans()):
            self.run.begin_list(job_id, data.draw(st.integers(0, 2)))
        else:
            self.run.list_items(job_id)

    def grows(self, job_id: str) -> bool:
        """Whether the list of the job may grow: its job stands alone with its items."""
        rules = self.rules[self.run.orders[job_id]]
        is_alone = not (rules.needs or rules.chain or rules.is_single or rules.is_gate or self.run.chosen)
        return is_alone and not any(rules.order in other.chain for other in self.rules)

    def grow_list(self, data: st.DataObject) -> None:
        """Also after its job is over: what was read before comes then."""
        job_id = data.draw(st.sampled_from([job.rules.id for job in self.model.jobs if job.is_growing]))
        if data.draw(st.integers(0, 2)):
            self.run.add_items(job_id, data.draw(st.integers(1, 3)))
        else:
            self.run.end_list(job_id, is_whole=data.draw(st.integers(0, 3)) > 0)

    def make_durable(self, data: st.DataObject) -> None:
        """The journal's groups become durable in order."""
        self.run.make_durable(*self.run.not_durable[: data.draw(st.integers(1, len(self.run.not_durable)))])

    def free_slot(self, data: st.DataObject) -> None:
        self.run.free_slot(data.draw(st.sampled_from(sorted(self.run.held_slots))))

    def pass_time(self, data: st.DataObject) -> None:
        wake = self.run.wake()
        if wake is not None and data.draw(st.booleans()):
            self.run.pass_time(wake)
        else:
            self.run.pass_time(data.draw(st.sampled_from([0.0, 0.5, 3.0])))

    def ask(self, data: st.DataObject) -> None:
        """Somebody stops or cancels: not often, or few runs would come to their end."""
        what = data.draw(st.integers(0, 19))
        if what == 0:
            self.run.stop(data.draw(st.sampled_from([Stop.PAUSE, Stop.PAUSE, Stop.DRAIN, Stop.NOW, Stop.KILL])))
        elif what == 1:
            self.run.cancel()
        elif what < 5:
            self.set_slots(data)
        elif what < 12:
            unlisted = [(rule.order, 0) for rule in self.rules if self.model.jobs[rule.order].words is None]
            known = [self.run.name(ref) for ref in (*self.model.all_refs(), *unlisted)]
            if known:
                self.run.cancel(*data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True)))

    def set_slots(self, data: st.DataObject) -> None:
        slots = data.draw(st.integers(1, 5))
        self.run.set_slots(slots, data.draw(st.integers(0, slots - 1)))

    def let_finish(self) -> None:
        run = self.run
        for _ in range(1000):
            if run.finish is not None:
                return
            if run.to_list:
                run.list_items(run.to_list[0])
            elif run.not_durable:
                run.make_durable()
            elif run.running:
                run.succeed(next(iter(run.running)))
            elif growing := [
                job.rules.id for job in self.model.jobs if job.is_growing and not self.model.is_over(job.rules.order)
            ]:
                run.end_list(growing[0])
            elif self.model.posing or (self.model.is_attended and self.gates_asking()):
                run.choose(self.gates_asking()[0], GateEnd.APPROVED)
            elif run.joining:
                run.share(*run.joining, is_success=True)
            elif unbounded := [resource for resource, until in run.state.holds.items() if until == math.inf]:
                run.free_resource(unbounded[0])
            elif run.held_slots:
                run.free_slot(min(run.held_slots))
            else:
                run.pass_time_to_next_wake()
        raise AssertionError("the run never ends")

    def check_end(self) -> None:
        """What holds for every finished run, whatever happened in it."""
        status, error = self.run.result
        words = [word for job in words_of(self.run.state) for word in job]
        assert "running" not in words
        # A choice for a job that cleans up may be open when a halted run has failed.
        assert status in ("paused", "failed") or "waiting" not in words
        # An adopted attempt may end, and wait for its next, before what its job needs is at rest again.
        waiting = {ref for ref in self.model.all_refs("waiting") if self.model.jobs[ref[0]].phase != "blocked"}
        assert waiting <= self.model.asking <= set(self.model.all_refs("waiting"))
        assert self.run.finish is not None
        assert self.run.finish.is_rejected == self.model.is_rejected
        if status == "completed":
            assert not {"pending", "interrupted"} & set(words)
            assert all(self.model.jobs[order].is_enough for order, _ in self.model.all_refs("cancelled"))
        if error is not None and status != "interrupted":
            order, index = self.run.ref(error)
            items = self.run.state.jobs[order].items
            assert not items or items[index] in (FAILED, CANCELLED) or self.model.jobs[order].is_cut
        event(f"status {status}")


def play(scenario: Scenario, data: st.DataObject, steps: int, moods: Sequence[str] = MOODS) -> None:
    contest = Contest(scenario)
    contest.play(data, steps, moods)
    contest.check_end()


QUICK = examples(240, *HealthCheck, derandomize=True)
THOROUGH = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(graphs(), st.data())
def test_a_run_goes_as_the_model_says(scenario: Scenario, data: st.DataObject) -> None:
    play(scenario, data, steps=50)


@examples(60, *HealthCheck, derandomize=True)
@given(layers(), st.data())
def test_a_wide_and_deep_run_goes_as_the_model_says(scenario: Scenario, data: st.DataObject) -> None:
    play(scenario, data, steps=80)


@examples(80, *HealthCheck, derandomize=True)
@given(fans(), st.data())
def test_a_run_of_items_that_are_queued_goes_as_the_model_says(scenario: Scenario, data: st.DataObject) -> None:
    play(scenario, data, steps=60, moods=["quick", "quick", "quick", "resized", "held"])


@QUICK
@given(resumed(), st.data())
def test_a_resumed_run_goes_as_the_model_says(scenario: Scenario, data: st.DataObject) -> None:
    play(scenario, data, steps=50)


@pytest.mark.slow
@THOROUGH
@given(st.one_of(graphs(), layers(), fans(), resumed()), st.data())
def test_ten_thousand_runs_go_as_the_model_says(scenario: Scenario, data: st.DataObject) -> None:
    play(scenario, data, steps=120)
