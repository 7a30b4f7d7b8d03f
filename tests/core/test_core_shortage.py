"""The machine has no room for one more process: fewer at once, tried again, no item lost, no slot lost, no storm of starts."""

from __future__ import annotations

import math
from itertools import product

import pytest
from drivers.core_driver import CoreDriver, job, single
from drivers.sweeps import sweep

from orchestrator.core.events import Declined, Verdict
from orchestrator.core.explanations import why_it_waits
from orchestrator.core.shortage import SHORTAGE


class Machine:
    """One that has room for `room` items, and starts those of one job, which take `seconds` each, in eight slots.

    A start that finds no room is told after `told` seconds: 0, or those that a worker takes to come up in vain.
    """

    def __init__(self, room: int, items: int, *, seconds: float = 1.0, told: float = 0.0) -> None:
        self.run = CoreDriver([job("a", 0)], {"a": items}, slots=8)
        self.room = room
        self.seconds = seconds
        self.told = told
        self.shortages = 0
        self._ends: dict[str, tuple[float, Verdict]] = {}

    def live(self, until: float) -> None:
        """Start, and let items end and time pass until then, or until the run is over."""
        while self.run.finish is None:
            self._start()
            wake = self.run.wake()
            item = min(self._ends, key=lambda each: self._ends[each][0], default=None)
            end, verdict = (math.inf, Verdict.LOST) if item is None else self._ends[item]
            now = min(end, math.inf if wake is None else self.run.now + wake)
            if now > until:
                return
            if item is not None and end == now:
                self.run.now = now
                del self._ends[item]
                self.run.end(item, verdict)
            else:
                self.run.pass_time_to_next_wake()

    def _start(self) -> None:
        while starting := [item for item in self.run.running if item not in self._ends]:
            well = [verdict for _, verdict in self._ends.values() if verdict is Verdict.SUCCEEDED]
            if len(well) < self.room:
                self._ends[starting[0]] = self.run.now + self.seconds, Verdict.SUCCEEDED
                continue
            self.shortages += 1
            if self.told:
                self._ends[starting[0]] = self.run.now + self.told, Verdict.SHORTAGE
            else:
                self.run.hold(starting[0], SHORTAGE)


def test_a_shortage_is_tried_again_ever_later_up_to_five_seconds() -> None:
    run = CoreDriver([single("a", 0)]).open()
    waits = []
    for _ in range(9):
        run.hold("a:0", SHORTAGE)
        waits.append(run.wake())
        run.pass_time_to_next_wake()
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    run.succeed("a:0")
    assert run.result == ("completed", None)


def test_a_shortage_that_lasts_for_hours_is_still_tried_each_five_seconds() -> None:
    run = CoreDriver([single("a", 0)]).open()
    for _ in range(2000):
        run.hold("a:0", SHORTAGE)
        run.pass_time_to_next_wake()
    run.hold("a:0", SHORTAGE)
    assert run.wake() == pytest.approx(5.0)


def test_a_shortage_that_all_slots_meet_at_once_is_one_shortage() -> None:
    run = CoreDriver([job("a", 0)], {"a": 16}, slots=16).open()
    for index in range(8):
        run.hold(f"a:{index}", SHORTAGE)
    for index in range(8, 16):
        run.end(f"a:{index}", Verdict.SHORTAGE)
    assert run.wake() == pytest.approx(0.1)
    run.pass_time_to_next_wake()
    assert list(run.running) == ["a:0"], "one start finds out what sixteen would"
    run.hold("a:0", SHORTAGE)
    assert run.wake() == pytest.approx(0.2)


@pytest.mark.parametrize("before", [0, 1, 3])
def test_after_a_shortage_one_more_is_tried_at_a_time_until_all_slots_are_in_use(before: int) -> None:
    run = CoreDriver([job("a", 0)], {"a": 50}, slots=8).open()
    for index in range(before, 8):
        run.hold(f"a:{index}", SHORTAGE)
    assert len(run.running) == before
    for running in range(before + 1, 9):
        assert run.wake() == pytest.approx(0.1)
        run.pass_time_to_next_wake()
        assert len(run.running) == running
    run.pass_time_to_next_wake()
    assert run.wake() is None, "nothing is bounded any more"
    for number in range(8):
        run.hold(f"a:{number}", "memory")
    run.free_resource("memory")
    assert len(run.running) == 8


@pytest.mark.parametrize("verdict", [Verdict.SUCCEEDED, Verdict.FAILED, Verdict.HOPELESS, Verdict.LOST, Verdict.CANCELLED])
def test_an_item_that_ends_makes_room_for_one_at_once(verdict: Verdict) -> None:
    run = CoreDriver([job("a", 0, continue_on_error=True)], {"a": 20}, slots=8).open()
    for index in range(3, 8):
        run.hold(f"a:{index}", SHORTAGE)
    wake = run.wake()
    if verdict is Verdict.CANCELLED:
        run.cancel("a:0")
    run.end("a:0", verdict)
    assert len(run.running) == 3
    assert "a:0" in run.running or "a:3" in run.running
    assert run.wake() == wake, "and none beyond that before its time"


def test_a_start_in_the_place_of_another_that_finds_no_room_makes_it_fewer_at_once_and_no_wait_longer() -> None:
    run = CoreDriver([job("a", 0)], {"a": 20}, slots=8).open()
    for index in range(3, 8):
        run.hold(f"a:{index}", SHORTAGE)
    run.succeed("a:0")
    run.hold("a:3", SHORTAGE)
    assert list(run.running) == ["a:1", "a:2"], "somebody else has taken the room"
    assert run.wake() == pytest.approx(0.1)
    run.succeed("a:1")
    assert len(run.running) == 2


@pytest.mark.parametrize(("quiet_seconds", "next_wait"), [(0.5, 0.8), (4.9, 0.8), (5.0, 0.1)])
def test_a_shortage_soon_after_a_trial_that_seemed_to_hold_is_the_same_trouble(quiet_seconds: float, next_wait: float) -> None:
    run = CoreDriver([job("a", 0)], {"a": 20}, slots=4).open()
    for _ in range(3):
        run.hold("a:3", SHORTAGE)
        run.pass_time_to_next_wake()
    run.pass_time(quiet_seconds)
    assert len(run.running) == 4
    run.end("a:3", Verdict.SHORTAGE)
    assert run.wake() == pytest.approx(next_wait)


@pytest.mark.parametrize(("room", "told"), sweep([(1, 0.5), (7, 0.0), (5, 0.03), *product((1, 5, 7), (0.0, 0.03, 0.5))], quick=3))
def test_a_machine_with_too_little_room_is_kept_full_and_hardly_troubled(room: int, told: float) -> None:
    machine = Machine(room, items=60 * room, told=told)
    begun = machine.run.open().now
    machine.live(until=begun + 1000)
    assert machine.run.result == ("completed", None)
    seconds = machine.run.now - begun
    assert seconds < 60 * 1.1, "no slot is lost"
    # One that is told late is not the only one under way by then.
    assert machine.shortages < seconds / 5 * (1 + told / 0.1) + 24, "no storm"


def test_a_machine_that_has_room_again_is_full_again_within_seconds() -> None:
    machine = Machine(room=0, items=100, seconds=100.0)
    machine.run.open()
    machine.live(until=machine.run.now + 1000)
    assert not machine.run.running
    machine.room = 8
    machine.live(until=machine.run.now + 5.0 + 8 * 0.1)
    assert len(machine.run.running) == 8


def test_items_that_need_no_process_do_not_wait_for_a_trial_each() -> None:
    run = CoreDriver([job("a", 0)], {"a": 100}, slots=4).open()
    for index in range(4):
        run.hold(f"a:{index}", SHORTAGE)
    run.pass_time_to_next_wake()
    at = run.now
    while run.running:
        run.decline(next(iter(run.running)), Declined.SATISFIED)
    assert run.now == at
    assert run.result == ("completed", None)


def test_why_says_how_many_there_is_room_for_and_when_one_more_is_tried() -> None:
    run = CoreDriver([job("a", 0)], {"a": 20}, slots=8).open()
    for index in range(3, 8):
        run.hold(f"a:{index}", SHORTAGE)
    wanted = "it waits for room for one more process or open file on this machine: "
    assert why_it_waits(run.state, (0, 5), run.now) == (
        f"{wanted}3 at once is what there is room for; one more is tried in 0.1 s, or when one of them ends"
    )
    assert why_it_waits(run.state, (0, 1), run.now) == ""
    run = CoreDriver([single("a", 0)]).open()
    for _ in range(7):
        run.hold("a:0", SHORTAGE)
        run.pass_time_to_next_wake()
    run.hold("a:0", SHORTAGE)
    assert why_it_waits(run.state, (0, 0), run.now + 2) == f"{wanted}one more is tried in 3.0 s"


def test_an_attempt_that_found_no_room_uses_none_up_however_often() -> None:
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)]).open()
    for number in range(1, 21):
        assert run.running["a:0"][0] == number, "the record of the start stands, so the next has a number of its own"
        run.end("a:0", Verdict.SHORTAGE)
        assert run.ended["a:0"] == "waiting"
        run.pass_time_to_next_wake()
    run.fail("a:0")
    assert run.running == {"a:0": (22, 0)}
    run.fail("a:0")
    assert run.result == ("failed", "a:0")


def test_workers_that_die_before_they_have_begun_are_tried_again_with_pauses_and_then_given_up() -> None:
    """Ten in a row, each after a wait of its own; a start that follows is failed at its first."""
    run = CoreDriver([job("a", 0, continue_on_error=True)], {"a": 3}, slots=1).open()
    waits = []
    for _ in range(9):
        run.end("a:0", Verdict.NOT_BEGUN)
        assert run.ended["a:0"] == "waiting"
        waits.append(run.wake())
        run.pass_time_to_next_wake()
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])
    run.end("a:0", Verdict.NOT_BEGUN)
    assert run.ended["a:0"] == "failed"
    run.pass_time_to_next_wake()
    run.end("a:1", Verdict.NOT_BEGUN)
    assert run.ended["a:1"] == "failed", "no worker has come up since"
    run.pass_time_to_next_wake()
    run.succeed("a:2")
    assert run.result == ("failed", "a:0")


def test_deaths_that_another_item_may_have_caused_are_never_the_last() -> None:
    """It may have the memory that a worker needs: while it runs, each 5 s one more is tried."""
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=2).open()
    for _ in range(50):
        run.end("a:1", Verdict.NOT_BEGUN)
        assert run.ended["a:1"] == "waiting"
        run.pass_time_to_next_wake()
    run.end("a:1", Verdict.NOT_BEGUN)
    run.succeed("a:0")
    run.pass_time_to_next_wake()
    run.end("a:1", Verdict.NOT_BEGUN)
    assert run.ended["a:1"] == "waiting", "a worker has come up meanwhile, so they can"
    run.pass_time_to_next_wake()
    run.succeed("a:1")
    assert run.result == ("completed", None)


def test_deaths_that_all_slots_meet_at_once_are_one() -> None:
    run = CoreDriver([job("a", 0)], {"a": 16}, slots=16).open()
    for index in range(16):
        run.end(f"a:{index}", Verdict.NOT_BEGUN)
    assert run.wake() == pytest.approx(0.1)
    assert set(run.ended.values()) == {"waiting"}


def test_a_worker_that_never_began_is_no_lost_one_and_uses_up_no_attempt() -> None:
    run = CoreDriver([single("a", 0)]).open()
    for verdict in (Verdict.LOST, Verdict.NOT_BEGUN, Verdict.LOST, Verdict.NOT_BEGUN, Verdict.NOT_BEGUN):
        run.end("a:0", verdict)
        if not run.running:
            run.pass_time_to_next_wake()
    run.fail("a:0")
    assert run.result == ("failed", "a:0")


def test_a_shortage_is_no_lost_worker_and_forgives_none() -> None:
    run = CoreDriver([single("a", 0)]).open()
    for verdict in (Verdict.LOST, Verdict.SHORTAGE, Verdict.SHORTAGE, Verdict.SHORTAGE, Verdict.LOST):
        run.end("a:0", verdict)
        if not run.running:
            run.pass_time_to_next_wake()
    run.end("a:0", Verdict.LOST)
    assert run.result == ("failed", "a:0")
