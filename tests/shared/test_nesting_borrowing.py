"""What a nested item may run on: who lends, in which order, how much there is, and what wakes those who wait."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.shared.nesting.ancestors import Lender, Nesting
from orchestrator.shared.nesting.borrowing import Borrowed, Capacity, change_slot_count, tell_slot_count
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.locks import unlock

LIMIT_SECONDS = 60.0


class Family:
    """An outermost run with slots, and attempts that wait for runs nested in them."""

    def __init__(self, home: Path, slots: int = 1) -> None:
        self.home = home
        self.root = home / "runs" / "root"
        (self.root / "slots").mkdir(parents=True)
        self.set_slots(slots)
        self.held: list[int] = []
        self._lenders: list[Lender] = []

    def set_slots(self, slots: int) -> None:
        (self.root / "slots" / "count").write_text(str(slots))

    def lender(self, name: str, *pools: str, home: Path | None = None) -> None:
        """One more attempt, nearer than those before."""
        worker = self.home / "runs" / name / "workers" / "0"
        worker.mkdir(parents=True)
        self._lenders.insert(0, Lender(worker, home or self.home, frozenset(pools)))

    def capacity(self) -> Capacity:
        marks = tuple(lender.worker.parts[-3] for lender in reversed(self._lenders))
        return Capacity(Nesting(marks, tuple(self._lenders), self.root, len(marks), 9), self.home)

    def work_on_root_slot(self, slot: int) -> None:
        """The outermost run itself uses its slot."""
        fd = try_lock(self.root / "slots" / f"{slot}.lock")
        assert fd is not None
        self.held.append(fd)

    def take(self, pool: str | None = None, note: str = "run/item mark") -> str | None:
        """Who gives room, None if nobody does."""
        borrowed = self.capacity().try_borrow(pool, note)
        return None if borrowed is None else self.giver(borrowed)

    def giver(self, borrowed: Borrowed) -> str:
        self.held += borrowed.lock_fds
        (fd,) = borrowed.lock_fds
        mine = os.fstat(fd)
        for path in (self.home / "runs").rglob("*.lock"):
            if path.stat().st_ino == mine.st_ino:
                return path.relative_to(self.home / "runs").parts[0] if path.name == "borrow.lock" else path.name
        raise AssertionError("a lock that nobody else finds")

    def close(self) -> None:
        for fd in self.held:
            os.close(fd)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    family.close()


def test_the_nearest_attempt_lends_first_then_those_above_then_the_root_gives_what_is_free(family: Family) -> None:
    family.set_slots(3)
    family.work_on_root_slot(0)
    family.lender("far")
    family.lender("near")
    assert [family.take() for _ in range(5)] == ["near", "far", "1.lock", "2.lock", None]


def test_who_wants_a_pool_borrows_from_the_attempt_that_has_it(family: Family) -> None:
    family.lender("with", "api", "db")
    family.lender("without")
    borrowed = family.capacity().try_borrow("api", "run/a m")
    assert borrowed is not None
    assert family.giver(borrowed) == "with"
    assert borrowed.pools == {"api", "db"}, "also what it did not ask for: it lends that on to runs of its own"


def test_who_wants_a_pool_that_is_lent_already_still_gets_a_slot(family: Family) -> None:
    family.lender("with", "api")
    family.lender("without")
    assert family.take("api") == "with"
    borrowed = family.capacity().try_borrow("api", "run/b m")
    assert borrowed is not None
    assert family.giver(borrowed) == "without"
    assert "api" not in borrowed.pools


def test_who_wants_no_pool_leaves_those_of_the_attempts_above_to_others(family: Family) -> None:
    family.lender("far")
    family.lender("near", "api")
    assert [family.take(), family.take(), family.take()] == ["far", "near", "0.lock"]


def test_pools_of_another_home_are_other_pools(family: Family, tmp_path: Path) -> None:
    family.lender("with", "api", home=tmp_path / "elsewhere")
    borrowed = family.capacity().try_borrow("api", "run/a m")
    assert borrowed is not None
    assert family.giver(borrowed) == "with"
    assert borrowed.pools == frozenset()


def test_the_number_of_the_roots_slots_is_read_anew_each_time(family: Family) -> None:
    family.work_on_root_slot(0)
    family.lender("only")
    assert [family.take(), family.take()] == ["only", None]
    family.set_slots(2)
    assert [family.take(), family.take()] == ["1.lock", None]


def test_an_outermost_run_that_is_gone_gives_nothing_and_the_attempts_still_lend(family: Family) -> None:
    family.lender("only")
    (family.root / "slots" / "count").unlink()
    assert [family.take(), family.take()] == ["only", None]
    assert not family.capacity().is_any_free()


def test_letting_go_is_seen_and_the_holders_are_named(family: Family) -> None:
    family.lender("only", "api")
    family.take("api", "run/a:0 m0")
    family.take(None, "run/b m1")
    capacity = family.capacity()
    before, before_pool = capacity.stamp(), capacity.pool_stamp("api")
    assert not capacity.is_any_free()
    assert not capacity.is_pool_free("api")
    assert capacity.notes() == ["run/a:0 m0", "run/b m1"]
    assert capacity.pool_notes("api") == ["run/a:0 m0"]
    unlock(family.held.pop(0))
    assert capacity.is_any_free()
    assert capacity.is_pool_free("api")
    assert (capacity.stamp() != before, capacity.pool_stamp("api") != before_pool) == (True, True)
    assert capacity.notes() == [None, "run/b m1"]
    before, before_pool = capacity.stamp(), capacity.pool_stamp("api")
    unlock(family.held.pop())
    assert (capacity.stamp() != before, capacity.pool_stamp("api") != before_pool) == (True, False)


def test_nobody_lends_a_pool_that_nobody_above_has(family: Family) -> None:
    family.lender("only", "api")
    capacity = family.capacity()
    assert not capacity.is_pool_free("db")
    assert capacity.pool_stamp("db") == ()
    assert capacity.pool_notes("db") == []


def test_a_kill_gives_back_what_was_borrowed(family: Family) -> None:
    family.lender("only")
    family.work_on_root_slot(0)
    borrowed = family.capacity().try_borrow(None, "run/a m")
    assert borrowed is not None
    # The descriptor travels to a worker; ours is closed.
    holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=borrowed.lock_fds)
    try:
        os.close(borrowed.lock_fds[0])
        assert family.take() is None
    finally:
        holder.kill()
        holder.communicate(timeout=LIMIT_SECONDS)
    assert family.take() == "only"


def test_the_slots_of_a_folder_that_was_removed_are_not_lent_anew_by_another_number(tmp_path: Path) -> None:
    """Its lock files went with it: who holds one is not seen by whoever would make it again."""
    root = RunDir.of(tmp_path, "root")
    root.path.mkdir(parents=True)
    tell_slot_count(root, 1)
    capacity = Capacity(Nesting((), (), root.path, 1, 99), tmp_path)
    held = capacity.try_borrow(None, "")
    assert held is not None
    shutil.rmtree(root.path / "slots")
    change_slot_count(root, 2)
    assert capacity.try_borrow(None, "") is None
    os.close(held.lock_fds[0])


class World:
    """Items that work, and items that wait for a run of their own; each a list of the attempts it is in, nearest first."""

    def __init__(self, home: Path, slots: int) -> None:
        self.home = home
        self.slots = slots
        self.working: list[tuple[tuple[Lender, ...], int]] = []
        self.waiting: list[tuple[tuple[Lender, ...], int]] = []
        (home / "runs/root/slots").mkdir(parents=True)
        (home / "runs/root/slots/count").write_text(str(slots))

    def try_start(self, above: tuple[Lender, ...]) -> bool:
        """One more item in the attempts `above`, or of the outermost run itself."""
        root = self.home / "runs/root"
        if above:
            borrowed = Capacity(Nesting((), above, root, len(above), 99), self.home).try_borrow(None, "")
            fd = None if borrowed is None else borrowed.lock_fds[0]
        else:
            slots = (try_lock(root / f"slots/{number}.lock") for number in range(self.slots))
            fd = next((fd for fd in slots if fd is not None), None)
        if fd is not None:
            self.working.append((above, fd))
        return fd is not None

    def nest(self, place: int) -> None:
        """A working item starts a run, and waits for it."""
        above, fd = self.working.pop(place)
        worker = self.home / f"runs/{fd}-{len(above)}-{len(self.waiting)}/workers/0"
        worker.mkdir(parents=True, exist_ok=True)
        self.waiting.append(((Lender(worker, self.home, frozenset()), *above), fd))

    def end(self, place: int) -> None:
        """A working item ends; so do the items above whose runs have nothing left."""
        unlock(self.working.pop(place)[1])
        for below, fd in sorted(self.waiting, key=lambda each: -len(each[0])):
            others = [*self.working, *(each for each in self.waiting if each[0] != below)]
            if not any(above[-len(below) :] == below for above, _ in others):
                self.waiting.remove((below, fd))
                unlock(fd)

    def close(self) -> None:
        for _, fd in [*self.working, *self.waiting]:
            os.close(fd)


@examples(80, HealthCheck.function_scoped_fixture)
@given(slots=st.integers(1, 3), steps=st.lists(st.tuples(st.sampled_from("ssne"), st.integers(0, 99)), max_size=50))
def test_however_runs_are_nested_working_items_never_outnumber_the_slots_and_the_innermost_run_goes_on(
    tmp_path_factory: pytest.TempPathFactory, slots: int, steps: list[tuple[str, int]]
) -> None:
    world = World(tmp_path_factory.mktemp("home"), slots)
    try:
        for step, choice in steps:
            if step == "s":
                places = [(), *(below for below, _ in world.waiting)]
                is_started = world.try_start(places[choice % len(places)])
                assert is_started or world.working, "nobody works, and nobody may"
            elif world.working:
                (world.nest if step == "n" else world.end)(choice % len(world.working))
            assert len(world.working) <= slots
            if world.waiting and not world.working:
                innermost = max(world.waiting, key=lambda each: len(each[0]))[0]
                assert world.try_start(innermost), "the run that everybody waits for cannot go on"
    finally:
        world.close()
