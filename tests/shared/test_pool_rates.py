"""The rate of a pool: never more starts in any span than it says, whatever the runs, the clocks, the kills and the file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import Pool, Rate
from orchestrator.shared.pools import rates
from orchestrator.shared.pools.rates import BUSY_SECONDS, LONGEST_BUSY_SECONDS, PoolRate
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers import faultpoints

SECOND = 1_000_000_000


class Clocks:
    """The boot clock, the wall clock and the boot, all in the test's hand (nanoseconds)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boot = 50 * SECOND
        self.wall = 1_700_000_000 * SECOND
        self.boot_id = "boot-one"
        monkeypatch.setattr(rates, "boot_nanoseconds", lambda: self.boot)
        monkeypatch.setattr(rates, "time", SimpleNamespace(time_ns=lambda: self.wall))
        monkeypatch.setattr(rates, "boot_id", lambda: self.boot_id)

    def go_on(self, seconds: float) -> None:
        self.boot += round(seconds * SECOND)
        self.wall += round(seconds * SECOND)

    def reboot(self, down_seconds: float) -> None:
        self.boot_id += "+"
        self.boot = 5 * SECOND
        self.wall += round(down_seconds * SECOND)


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def log_of(home: Path, starts: int, seconds: float) -> PoolRate:
    return PoolRate(home, Pool(name="api", rate=Rate(starts, seconds)))


def granted(log: PoolRate, tries: int) -> int:
    return sum(log.try_grant_start() is None for _ in range(tries))


def test_the_first_starts_go_at_once_and_the_next_is_told_when(clocks: Clocks, tmp_path: Path) -> None:
    log = log_of(tmp_path, 3, 60)
    assert log.try_grant_start() is None
    clocks.go_on(10)
    assert granted(log, 2) == 2
    assert log.try_grant_start() == 50
    clocks.go_on(50)
    assert log.try_grant_start() is None
    assert log.try_grant_start() == 10


def test_a_start_that_is_refused_counts_for_nothing(clocks: Clocks, tmp_path: Path) -> None:
    log = log_of(tmp_path, 1, 10)
    assert granted(log, 50) == 1
    clocks.go_on(10)
    assert granted(log, 50) == 1


def test_runs_with_different_rates_share_the_log_and_each_keeps_its_own(clocks: Clocks, tmp_path: Path) -> None:
    slow, fast = log_of(tmp_path, 2, 3600), log_of(tmp_path, 10, 1)
    assert granted(fast, 20) == 10
    clocks.go_on(2)
    assert slow.try_grant_start() == 3598, "the starts of the other run count"
    assert granted(fast, 20) == 10


def test_starts_that_take_a_while_to_happen_count_from_when_they_may_happen(clocks: Clocks, tmp_path: Path) -> None:
    log = log_of(tmp_path, 2, 1)
    assert log.try_grant_start(lag_seconds=0.5) is None
    clocks.go_on(0.1)
    assert log.try_grant_start() is None
    clocks.go_on(0.9)
    assert log.try_grant_start() == pytest.approx(0.5)
    clocks.go_on(0.5)
    assert granted(log, 5) == 2, "the second was not noted before the first, which may have come later"


@examples(100, HealthCheck.function_scoped_fixture)
@given(
    steps=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 1), st.floats(0, 1)), max_size=60),
    bound=st.integers(1, 5),
)
def test_starts_that_lag_never_crowd_in_one_span(
    clocks: Clocks, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, float, float]], bound: int
) -> None:
    log = log_of(tmp_path_factory.mktemp("home"), bound, 3)
    happened: list[float] = []
    for pause, lag, fraction in steps:
        clocks.go_on(pause)
        if log.try_grant_start(lag) is None:
            happened.append(clocks.boot / SECOND + lag * fraction)
    happened.sort()
    assert all(later - first > 3 - 1e-6 for first, later in zip(happened, happened[bound:], strict=False))


@examples(150, HealthCheck.function_scoped_fixture)
@given(
    steps=st.lists(st.tuples(st.integers(0, 1), st.floats(0, 4), st.integers(-(10**6), 10**6)), max_size=60),
    bounds=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_no_span_has_more_starts_than_the_rate_even_if_the_wall_clock_jumps(
    clocks: Clocks,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, float, int]],
    bounds: tuple[int, int],
) -> None:
    spans = (2.0, 7.0)
    home = tmp_path_factory.mktemp("home")
    logs = [log_of(home, bound, span) for bound, span in zip(bounds, spans, strict=True)]
    all_starts: list[int] = []
    for which, pause, jump in steps:
        clocks.go_on(pause)
        clocks.wall += jump * SECOND
        earlier = [then for then in all_starts if then > clocks.boot - spans[which] * SECOND]
        answer = logs[which].try_grant_start()
        assert (answer is None) == (len(earlier) < bounds[which])
        if answer is None:
            all_starts.append(clocks.boot)


def test_starts_of_the_boot_before_still_count(clocks: Clocks, tmp_path: Path) -> None:
    log = log_of(tmp_path, 2, 3600)
    assert granted(log, 2) == 2
    clocks.reboot(down_seconds=100)
    assert log.try_grant_start() == pytest.approx(3500)
    clocks.go_on(3500)
    assert granted(log, 5) == 2


@pytest.mark.parametrize("set_by", [-(10**6), 10**6], ids=["back", "forward"])
def test_a_wall_clock_that_was_set_between_two_boots_holds_nobody_for_longer_than_a_span(
    clocks: Clocks, tmp_path: Path, set_by: int
) -> None:
    log = log_of(tmp_path, 2, 60)
    assert granted(log, 2) == 2
    clocks.reboot(down_seconds=set_by)
    wait = log.try_grant_start()
    assert wait is None or wait <= 60
    clocks.go_on(60)
    assert log.try_grant_start() is None


def test_starts_that_are_yet_to_come_hold_nobody_for_longer_than_a_span(clocks: Clocks, tmp_path: Path) -> None:
    log = log_of(tmp_path, 1, 60)
    clocks.boot += 10**6 * SECOND
    assert log.try_grant_start() is None
    clocks.boot -= 10**6 * SECOND
    wait = log.try_grant_start()
    assert wait is not None
    assert wait <= 60
    clocks.go_on(60)
    assert log.try_grant_start() is None


def test_a_rate_larger_than_the_ring_takes_what_was_forgotten_for_as_late_as_may_be(
    clocks: Clocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_LEAST_CAPACITY", 4)
    small, large = log_of(tmp_path, 4, 1), log_of(tmp_path, 10, 3600)
    for _ in range(3):
        assert granted(small, 5) == 4
        clocks.go_on(1)
    assert large.try_grant_start() == 3600 - 1, "twelve starts in this hour, of which the ring knew the last four"
    clocks.go_on(3599)
    assert granted(large, 20) == 10


def test_a_ring_that_went_round_forgets_nothing_that_counts(
    clocks: Clocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_LEAST_CAPACITY", 3)
    log = log_of(tmp_path, 3, 10)
    for _ in range(5):
        assert granted(log, 9) == 3
        clocks.go_on(4)
        assert log.try_grant_start() == 6
        clocks.go_on(6)
    size = (tmp_path / "pools/api/starts").stat().st_size
    assert granted(log, 3) == 3
    assert (tmp_path / "pools/api/starts").stat().st_size == size


@pytest.mark.parametrize(
    "damage", [b"", b"starts 1", b"\0" * 5000, b'{"format": 9}' * 400], ids=["empty", "torn", "zeros", "alien"]
)
def test_a_damaged_log_is_begun_anew(clocks: Clocks, tmp_path: Path, damage: bytes) -> None:
    log = log_of(tmp_path, 2, 60)
    assert granted(log, 5) == 2
    (tmp_path / "pools/api/starts").write_bytes(damage)
    assert granted(log, 5) == 2
    clocks.go_on(60)
    assert granted(log, 5) == 2


def test_while_another_process_writes_the_log_nobody_waits_in_a_call(tmp_path: Path) -> None:
    log = log_of(tmp_path, 5, 60)
    assert log.try_grant_start() is None
    lock_fd = try_lock(tmp_path / "pools/api/starts.lock")
    assert lock_fd is not None
    try:
        assert log.try_grant_start() == BUSY_SECONDS
        # One that was stopped in the middle: a run that waited so long for it each time took a tenth of a core.
        waits = [log.try_grant_start() for _ in range(20)]
        assert waits[:2] == [2 * BUSY_SECONDS, 4 * BUSY_SECONDS]
        assert waits[-1] == LONGEST_BUSY_SECONDS
    finally:
        os.close(lock_fd)
    assert log.try_grant_start() is None


@pytest.mark.parametrize("point", ["rate.noted", "rate.log_written"])
def test_a_write_that_fails_is_told_and_a_shortage_is_let_out(tmp_path: Path, point: str) -> None:
    try:
        faultpoints.arm(f"{point}:1:ENOSPC")
        with pytest.raises(StateUnwritableError, match="pools/api/starts"):
            log_of(tmp_path, 1, 60).try_grant_start()
        faultpoints.arm(f"{point}:1:EMFILE")
        with pytest.raises(OSError, match="Too many open files") as raised:
            log_of(tmp_path, 1, 60).try_grant_start()
        assert raised.value.errno == errno.EMFILE
    finally:
        faultpoints.arm(None)
    assert granted(log_of(tmp_path, 1, 60), 5) == 1
