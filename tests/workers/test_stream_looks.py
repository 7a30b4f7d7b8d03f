"""When the streams of an agent are looked at: often while it writes, by a signal alone while it does not."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from orchestrator.workers.processes.stream_looks import StreamLooks
from orchestrator.workers.processes.surroundings import Bounds
from orchestrator.workers.protocol import End, EndReason

HOUR = 3600.0


class World:
    """The clock, one stream, its onlooker, and a kernel that tells of a write or does not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.bytes = 0
        self.cut_at: list[float] = []
        self.read_at: list[float] = []
        self.has_bell = True
        self.bells = 0
        self.is_doubtful = False
        self.due = float("inf")
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    # A stream.

    def written(self) -> int:
        return self.bytes

    def cut_to(self, _limit: int) -> int:
        self.cut_at.append(self.now)
        return 1 << 40

    def is_settled(self) -> bool:
        return not self.is_doubtful

    # A control.

    def wait(self, _timeout_seconds: float | None) -> Sequence[End]:
        return []

    def wake_at_write(self) -> bool:
        self.bells += 1
        return self.has_bell

    def is_supervisor_gone(self) -> bool:
        return False

    # An onlooker.

    def look_at_streams(self) -> EndReason | None:
        self.read_at.append(self.now)
        return None

    def pause_seconds(self) -> float:
        return 0.5

    def due_at(self) -> float:
        return self.due

    def has_told_its_end(self) -> bool:
        return False

    # What a test does.

    def looks(self, stall_seconds: float | None = None) -> StreamLooks:
        return StreamLooks([self], 1 << 40, Bounds(stall_seconds=stall_seconds), self, self)

    def go_on(self, looks: StreamLooks, seconds: float) -> tuple[int, list[EndReason]]:
        """Look whenever that is due, for so long. How often, and the reasons for an end that were told."""
        until, count, reasons = self.now + seconds, 0, []
        while (due_at := max(looks.due_at(is_ending=False), self.now)) < until:
            self.now = due_at
            count += 1
            assert count < 10_000, "it spins"
            if (reason := looks.look(self.now, is_ending=False)) is not None:
                reasons.append(reason)
                break
        self.now = until
        return count, reasons


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_an_agent_that_writes_nothing_for_an_hour_is_looked_at_some_times_and_then_left_alone(world: World) -> None:
    """If this fails, an idle agent costs looks again: 64 of them are to make fewer than five wake-ups a second, all together."""
    looks = world.looks(stall_seconds=2 * HOUR)
    assert world.go_on(looks, 10.0)[0] <= 5
    assert world.go_on(looks, HOUR)[0] <= HOUR / 300 + 1


def test_without_a_kernel_that_tells_of_a_write_it_is_looked_at_by_the_clock(world: World) -> None:
    world.has_bell = False
    assert world.go_on(world.looks(), 60.0)[0] >= 120


def test_the_next_write_ends_the_quiet_and_is_looked_at_at_once(world: World) -> None:
    looks = world.looks()
    world.go_on(looks, 60.0)
    world.bytes = 7
    assert looks.due_at(is_ending=False) == 0.0, "also a write that came before the signal was asked for"
    assert looks.look(world.now, is_ending=False) is None
    assert (world.cut_at[-1], world.read_at[-1], looks.wrote_at) == (160.0, 160.0, 160.0)
    assert looks.due_at(is_ending=False) <= 160.5
    assert world.go_on(looks, 1.5)[0] > 1, "while it writes the clock is cheaper than a signal for each write"


def test_what_wakes_it_for_another_reason_may_have_used_up_the_signal_so_that_is_asked_for_again(world: World) -> None:
    looks = world.looks()
    world.go_on(looks, 60.0)
    bells = world.bells
    looks.look(world.now, is_ending=False)
    looks.due_at(is_ending=False)
    assert world.bells == bells + 1


def test_a_quiet_agent_has_stalled_when_its_time_is_up_and_not_a_look_later(world: World) -> None:
    looks = world.looks(stall_seconds=600.0)
    world.go_on(looks, 100.0)
    world.bytes = 7
    looks.look(world.now, is_ending=False)
    assert world.go_on(looks, 599.5)[1] == []
    assert world.go_on(looks, 1.0)[1] == [EndReason.STALLED]


def test_what_the_onlooker_has_to_do_by_the_clock_is_done_in_the_quiet_too(world: World) -> None:
    looks = world.looks()
    world.due = 150.0
    world.go_on(looks, 49.0)
    reads = len(world.read_at)
    assert looks.due_at(is_ending=False) == 150.0
    world.go_on(looks, 2.0)
    assert world.read_at[reads] == 150.0


@pytest.mark.parametrize("why", ["the onlooker is busy", "a full disk may have refused a byte"])
def test_it_is_not_quiet_where_a_look_may_find_something_without_a_write(world: World, why: str) -> None:
    world.due = 0.0 if "onlooker" in why else float("inf")
    world.is_doubtful = "disk" in why
    assert world.go_on(world.looks(), 60.0)[0] >= 60


def test_what_is_being_ended_in_the_quiet_is_held_to_its_size(world: World) -> None:
    looks = world.looks()
    world.go_on(looks, 60.0)
    world.bytes = 7
    looks.look(world.now, is_ending=True)
    assert world.cut_at[-1] == 160.0
    assert looks.due_at(is_ending=True) <= 161.0
