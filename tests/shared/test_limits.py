"""What all runs know of usage limits: clamped, shared, forgotten; who tries when one is over. No clock is waited for."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.parking import DEFAULT_PARK_SECONDS
from orchestrator.errors import StateUnwritableError
from orchestrator.shared.limits.park import (
    LEAST_SECONDS,
    LONGEST_SECONDS,
    Clock,
    Park,
    is_over_since,
    park_of,
    seconds_left,
    standing_park,
)
from orchestrator.shared.limits.parks import Parks, park_words
from orchestrator.shared.limits.trials import LONGEST_TRIAL_SECONDS, Parked, Trial, Trials, Tried
from orchestrator.workers.protocol import ResetSource

ACCOUNT = "acme-0123abcd"
NOON = Clock(wall=1_800_000_000.0, boot=5_000.0, boot_id="b1")
HOUR = 3600.0


class Machine:
    """A home, and a clock that the test moves."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = NOON
        self.notes: list[str] = []
        self.parks = self.other_run()
        self.trials = Trials(home, self.parks)

    def other_run(self) -> Parks:
        return Parks(self.home, self.notes.append, lambda: self.clock)

    def pass_time(self, seconds: float) -> None:
        self.clock = Clock(self.clock.wall + seconds, self.clock.boot + seconds, self.clock.boot_id)

    def take(self, trials: Trials, note: str) -> Trial | Parked | Tried | None:
        """`try_use_account`, with a lock file that is touched by the test's clock."""
        taken = trials.try_use_account(ACCOUNT, note)
        if isinstance(taken, Trial):
            os.utime(taken.lock_fd, (self.clock.wall, self.clock.wall))
        return taken

    def file(self, suffix: str = "json") -> Path:
        return self.home / "limits" / f"{ACCOUNT}.{suffix}"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    assert not made.notes


def later(clock: Clock, seconds: float, wall_jump: float = 0.0) -> Clock:
    return Clock(clock.wall + seconds + wall_jump, clock.boot + seconds, clock.boot_id)


@pytest.mark.parametrize(
    ("resets_in", "seconds"),
    [
        (None, DEFAULT_PARK_SECONDS),
        (HOUR, HOUR),
        (0.0, LEAST_SECONDS),
        (-9e9, LEAST_SECONDS),
        (9.9, LEAST_SECONDS),
        (8 * 86400.0 + 1, LONGEST_SECONDS),
        (9e12, LONGEST_SECONDS),
    ],
)
def test_a_reset_is_clamped_and_an_unknown_one_is_half_an_hour_away(resets_in: float | None, seconds: float) -> None:
    resets_at = None if resets_in is None else NOON.wall + resets_in
    park = park_of(ACCOUNT, resets_at, "r/a:1", NOON)
    assert seconds_left(park, NOON) == pytest.approx(seconds)
    assert park.source == ("default" if resets_in is None else "field")


@pytest.mark.parametrize("jump", [-10 * 365 * 86400.0, -HOUR, 0.0, HOUR, 10 * 365 * 86400.0])
def test_a_clock_that_is_set_parks_nobody_longer(jump: float) -> None:
    park = park_of(ACCOUNT, NOON.wall + HOUR, "r/a:1", NOON)
    assert seconds_left(park, later(NOON, 60.0, jump)) <= HOUR - 60.0
    assert seconds_left(park, later(NOON, HOUR, jump)) <= 0


def test_after_a_reboot_the_wall_clock_counts_unless_it_was_set_back() -> None:
    park = park_of(ACCOUNT, NOON.wall + HOUR, "r/a:1", NOON)
    assert seconds_left(park, Clock(NOON.wall + 600.0, 3.0, "b2")) == pytest.approx(HOUR - 600.0)
    assert seconds_left(park, Clock(NOON.wall - 86400.0, 3.0, "b2")) == 0.0


@given(st.floats(0, 4e9), st.floats(0, 1e9), st.floats(-1e10, 1e10), st.floats(0, 4e9), st.floats(0, 1e9), st.booleans())
def test_no_park_is_longer_than_eight_days_whatever_the_clocks_say(
    wall: float, boot: float, resets_in: float, wall_then: float, boot_then: float, is_same_boot: bool
) -> None:
    then = Clock(wall, boot, "b1")
    park = park_of(ACCOUNT, wall + resets_in, "r/a:1", then)
    assert LEAST_SECONDS * 0.999 <= seconds_left(park, then) <= LONGEST_SECONDS
    assert seconds_left(park, Clock(wall_then, boot_then, "b1" if is_same_boot else "b2")) <= LONGEST_SECONDS


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        (HOUR, None, "old"),  # a time that somebody told is better than none
        (None, HOUR, "new"),
        (HOUR, 2 * HOUR, "new"),
        (2 * HOUR, HOUR, "new"),  # the later word counts
        (HOUR, HOUR + 2.0, "old"),  # the same reset
        (None, None, "old"),
        (-5.0, None, "new"),  # over
    ],
)
def test_of_two_that_are_told_the_better_one_stands(old: float | None, new: float | None, counts: str) -> None:
    first = park_of(ACCOUNT, None if old is None else NOON.wall + old, "old", NOON)
    now = later(NOON, LEAST_SECONDS if old == -5.0 else 1.0)
    second = park_of(ACCOUNT, None if new is None else now.wall + new, "new", now)
    assert standing_park(first, second, now).told_by == counts
    assert standing_park(None, second, now) is second


def test_only_a_success_of_what_started_after_it_ends_a_park() -> None:
    park = park_of(ACCOUNT, NOON.wall + HOUR, "r/a:1", NOON)
    assert [is_over_since(park, NOON.wall + each, NOON.wall + 5) for each in (-1.0, 0.0, 0.5)] == [False, False, True]
    assert is_over_since(park, NOON.wall - HOUR, NOON.wall - HOUR + 5), "the clock was set back"


def test_another_run_sees_a_park_and_its_end(machine: Machine) -> None:
    other = machine.other_run()
    assert other.find_park(ACCOUNT) is None
    machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    park = other.find_park(ACCOUNT)
    assert park is not None
    assert (park.until, park.told_by) == (NOON.wall + HOUR, "r/a:1")
    assert machine.file().parent.stat().st_mode & 0o777 == 0o700, "nobody else reads of it"
    assert not other.clear_park(ACCOUNT, NOON.wall - 1), "it was in flight when the limit was told"
    assert other.clear_park(ACCOUNT, NOON.wall + 1)
    assert machine.parks.find_park(ACCOUNT) is None
    assert machine.parks.all_parks() == []


def test_somebody_takes_a_limit_back_by_hand(machine: Machine) -> None:
    machine.parks.tell_limit(ACCOUNT, None, "r/a:1")
    assert machine.parks.forget_limit(ACCOUNT)
    assert not machine.parks.forget_limit(ACCOUNT)
    assert machine.trials.find_missing(ACCOUNT) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 1}', b"\xff\xfe", b"[]", b'{"format":1,"account":"x"', b"[" * 5000])
def test_a_damaged_file_tells_of_no_limit_and_is_replaced(machine: Machine, content: bytes) -> None:
    machine.file().parent.mkdir()
    machine.file().write_bytes(content)
    assert machine.parks.find_park(ACCOUNT) is None
    machine.parks.tell_limit(ACCOUNT, None, "r/a:1")
    assert machine.parks.find_park(ACCOUNT) is not None


def test_a_file_of_a_later_version_or_another_account_tells_nothing(machine: Machine) -> None:
    park = machine.parks.tell_limit(ACCOUNT, None, "r/a:1")
    for odd in (msgspec.structs.replace(park, format=2), msgspec.structs.replace(park, account="other")):
        machine.file().write_bytes(msgspec.json.encode(odd))
        assert machine.other_run().find_park(ACCOUNT) is None


def test_what_a_later_version_knows_of_a_limit_is_never_overwritten(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file().parent.mkdir()
    machine.file().write_bytes(b'{"format": 2, "account": {"name": "x"}}')
    park = machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    assert machine.file().read_bytes() == b'{"format": 2, "account": {"name": "x"}}'
    assert machine.parks.find_park(ACCOUNT) == park, "this run keeps to it"
    assert "newer format" in machine.notes[0]


def test_a_writer_that_never_goes_on_keeps_nobody(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file().parent.mkdir()
    with FileLock(machine.file("lock")):
        park = machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    assert machine.parks.find_park(ACCOUNT) == park, "this run keeps to it"
    assert machine.other_run().find_park(ACCOUNT) is None
    assert "other runs are not told" in machine.notes[0]


def test_until_the_reset_nobody_may_try_and_then_exactly_one(machine: Machine) -> None:
    assert machine.trials.try_use_account(ACCOUNT, "r/a:1 m/a:1") is None, "without a limit nothing is taken"
    assert not machine.file("probe").exists()
    machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    parked = machine.trials.try_use_account(ACCOUNT, "r/a:1 m/a:1")
    assert isinstance(parked, Parked)
    assert parked.seconds == HOUR
    assert not machine.trials.is_past(ACCOUNT)
    machine.pass_time(HOUR)
    assert machine.trials.is_past(ACCOUNT)
    assert machine.trials.find_missing(ACCOUNT) is None
    trial = machine.take(machine.trials, "r/a:1 m/a:1")
    assert isinstance(trial, Trial)
    other = Trials(machine.home, machine.other_run())
    assert isinstance(other.find_missing(ACCOUNT), Tried)
    assert isinstance(other.try_use_account(ACCOUNT, "q/b:2 n/b:2"), Tried)
    assert not other.is_free(ACCOUNT)
    os.close(trial.lock_fd)  # as a kill of the attempt does
    assert other.is_free(ACCOUNT)
    second = machine.take(other, "q/b:2 n/b:2")
    assert isinstance(second, Trial)
    machine.parks.clear_park(ACCOUNT, machine.clock.wall)
    assert machine.trials.try_use_account(ACCOUNT, "r/a:2 m/a:2") is None, "all may, although the one that tried still runs"
    os.close(second.lock_fd)


def test_a_shortage_right_behind_the_lock_of_a_trial_lets_it_go(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    machine.pass_time(HOUR)
    real, asked = machine.parks.find_park, iter([False, False, False, True])

    def of(account: str) -> Park | None:
        if next(asked):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(account)

    with monkeypatch.context() as patched:
        patched.setattr(machine.parks, "find_park", of)
        with pytest.raises(OSError, match="Too many open files"):
            machine.trials.try_use_account(ACCOUNT, "r/a:1 m/a:1")
    trial = machine.take(Trials(machine.home, machine.other_run()), "q/b:2 n/b:2")
    assert isinstance(trial, Trial)
    os.close(trial.lock_fd)


def test_a_trial_that_meets_the_limit_again_parks_anew(machine: Machine) -> None:
    machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    machine.pass_time(HOUR)
    trial = machine.take(machine.trials, "r/a:1 m/a:1")
    assert isinstance(trial, Trial)
    machine.parks.tell_limit(ACCOUNT, machine.clock.wall + HOUR, "r/a:1")
    assert isinstance(machine.trials.find_missing(ACCOUNT), Parked)
    assert machine.trials.is_free(ACCOUNT), "who waits for the trial looks again, and finds the limit"
    os.close(trial.lock_fd)


def test_what_runs_inside_of_the_attempt_that_tries_is_a_part_of_the_trial(machine: Machine) -> None:
    machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    machine.pass_time(HOUR)
    trial = machine.take(machine.trials, "r/a:1 m/a:1/1")
    assert isinstance(trial, Trial)
    nested = Trials(machine.home, machine.other_run(), ("m/a:1/1",))
    assert nested.try_use_account(ACCOUNT, "q/b:0 m/a:1/1/n/b:0/1") is None
    assert nested.find_missing(ACCOUNT) is None
    os.close(trial.lock_fd)


def test_a_trial_that_goes_on_for_long_was_not_refused_and_the_others_need_not_wait_for_its_end(machine: Machine) -> None:
    machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    machine.pass_time(HOUR)
    trial = machine.take(machine.trials, "r/a:1 m/a:1")
    assert isinstance(trial, Trial)
    other = Trials(machine.home, machine.other_run())
    machine.pass_time(LONGEST_TRIAL_SECONDS - 1)
    assert not other.is_free(ACCOUNT)
    assert isinstance(other.try_use_account(ACCOUNT, "q/b:2 n/b:2"), Tried)
    machine.pass_time(2)
    assert other.is_free(ACCOUNT)
    assert other.try_use_account(ACCOUNT, "q/b:2 n/b:2") is None
    assert machine.parks.find_park(ACCOUNT) is None
    os.close(trial.lock_fd)


def test_who_finds_a_trial_too_long_does_not_take_back_what_was_told_meanwhile(machine: Machine) -> None:
    old = machine.parks.tell_limit(ACCOUNT, NOON.wall + HOUR, "r/a:1")
    machine.pass_time(2 * HOUR)
    new = machine.parks.tell_limit(ACCOUNT, NOON.wall + 5 * HOUR, "r/a:2")
    machine.parks.drop_park(old)
    assert machine.parks.find_park(ACCOUNT) == new


@pytest.mark.parametrize(
    ("hours_ago", "seconds"), [(0.0, DEFAULT_PARK_SECONDS), (0.25, DEFAULT_PARK_SECONDS / 2), (9.0, LEAST_SECONDS)]
)
def test_a_limit_that_was_only_heard_of_in_a_resume_is_counted_from_when_it_was_told(hours_ago: float, seconds: float) -> None:
    park = park_of(ACCOUNT, None, "r/a:1", NOON, reached_at=NOON.wall - hours_ago * HOUR)
    assert seconds_left(park, NOON) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("resets_in", "source", "words"),
    [
        (HOUR, "field", r"is reached until \d\d:\d\d:\d\d \(told by r/a:1\)"),
        (HOUR, "text", r"is reached until \d\d:\d\d:\d\d, by its words \(told by r/a:1\)"),
        (None, None, r"is reached until \d\d:\d\d:\d\d, at a guess \(told by r/a:1\)"),
        (5 * 86400.0, "field", r"is reached until \d{4}-\d\d-\d\d \d\d:\d\d \(told by r/a:1\)"),
    ],
)
def test_people_are_told_until_when_and_whose_word_that_is(
    resets_in: float | None, source: ResetSource | None, words: str
) -> None:
    now = Clock(time.time(), 5.0, "b1")
    park = park_of(ACCOUNT, None if resets_in is None else now.wall + resets_in, "r/a:1", now, source=source)
    assert re.fullmatch(f"the usage limit of {ACCOUNT} {words}", park_words(park))


def test_a_folder_that_cannot_be_used_is_told_in_words(machine: Machine) -> None:
    (machine.home / "limits").symlink_to(machine.home / "limits")
    for act in (
        lambda: machine.parks.find_park(ACCOUNT),
        lambda: machine.parks.tell_limit(ACCOUNT, None, "r/a:1"),
        lambda: machine.trials.try_use_account(ACCOUNT, "r/a:1 m/a:1"),
    ):
        with pytest.raises(StateUnwritableError, match="limits"):
            act()
