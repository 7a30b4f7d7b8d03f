"""The board on which runs find deadlocks: real processes against the clock, and looks one by one by a clock of the test's."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.processes import LIMIT_SECONDS, wait_until

from orchestrator.core.deadlocks import Wait
from orchestrator.errors import StateUnwritableError
from orchestrator.shared import wait_board as waits
from orchestrator.shared.wait_board import OBSERVE_SECONDS, REFRESH_SECONDS, STALE_SECONDS, Victim, WaitBoard
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.faultpoints import arm

FOUND_WITHIN_SECONDS = 5.0
"""A deadlock has to be found within that: by looks that come when they are due."""

PARTY = """
import select, sys, time
from pathlib import Path
from typing import Any
from orchestrator.core.deadlocks import Wait
from orchestrator.system.locks.travelling import try_lock
from orchestrator.store.run_dir import RunDir
from orchestrator.shared.wait_board import WaitBoard

home, run, above, holder = sys.argv[1:]
run_dir = RunDir(Path(home) / "runs" / run)
run_dir.path.mkdir(parents=True)
lock = try_lock(run_dir.supervisor_lock)
board = WaitBoard(run_dir, f"{above}/{run}.n", [above])
found = [Wait(item="x", resource="token " + holder, holders=(holder,))]
print("ready", flush=True)
sys.stdin.readline()
looks_left, late, due = None, 0.0, time.monotonic()
while looks_left != 0:
    late += time.monotonic() - due
    for victim in board.look_at_board(found, time.monotonic()):
        print(victim.words, flush=True)
        found = []
    due = board.next_look
    asked, _, _ = select.select([sys.stdin] if looks_left is None else [], [], [], max(0.0, due - time.monotonic()))
    if asked:
        looks_left, due = 6, time.monotonic()
    elif looks_left is not None:
        looks_left -= 1
board.close()
print(late)
"""
"""A run nested in the attempt `above`, whose item waits for the token of `holder`. It begins and ends at a line of stdin.

It says what it gives up, and at the end by how many seconds its looks were late together: what a busy machine took.
"""

Party = subprocess.Popen[str]


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[list[Party]]:
    """Five runs in a ring: each is nested in an item whose token the next one waits for."""
    names = "abcde"
    started = []
    for name, following in zip(names, names[1:] + names[0], strict=True):
        arguments = [str(tmp_path), f"run-{name}", f"r.n/{name}/1", f"r.n/{following}"]
        started.append(
            subprocess.Popen([sys.executable, "-c", PARTY, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    for party in started:
        assert party.stdout is not None
        assert party.stdout.readline() == "ready\n"
    yield started
    for party in started:
        party.kill()
        party.communicate(timeout=LIMIT_SECONDS)


def say(word: str, parties: list[Party]) -> None:
    for party in parties:
        assert party.stdin is not None
        party.stdin.write(f"{word}\n")
        party.stdin.flush()


def last_words(parties: list[Party]) -> tuple[list[str], float]:
    """What each gives up in more looks than it takes to hear of all others again, and by how much all looks were late."""
    say("enough", parties)
    told = [party.communicate(timeout=LIMIT_SECONDS)[0].splitlines() for party in parties]
    return [word for *words, _ in told for word in words], sum(float(late) for *_, late in told)


def test_of_five_processes_in_a_ring_one_gives_up_within_five_seconds(tmp_path: Path, parties: list[Party]) -> None:
    closed_at = time.monotonic()
    say("go", parties)
    with selectors.DefaultSelector() as selector:
        for party in parties:
            assert party.stdout is not None
            selector.register(party.stdout, selectors.EVENT_READ, party)
        ready = selector.select(LIMIT_SECONDS)
        assert ready, "nobody gave up"
        took = time.monotonic() - closed_at
        first = ready[0][0].data
    assert first.stdout is not None
    words = first.stdout.readline()
    assert words.count("token") == 5
    assert "which cannot end before run-" in words
    others, late = last_words(parties)
    assert others == []
    assert took < FOUND_WITHIN_SECONDS + late
    assert [party.returncode for party in parties] == [0] * 5
    assert [path.name for path in (tmp_path / "waits").iterdir()] == ["lock"]


@pytest.mark.slow
def test_who_was_killed_closes_no_ring(tmp_path: Path, parties: list[Party]) -> None:
    """Also as a zombie that nobody has waited for."""
    board = tmp_path / "waits"
    say("go", parties[:4])
    wait_until(lambda: board.exists() and len(list(board.glob("[!.]*.json"))) == 4, "four have posted")
    os.kill(parties[0].pid, signal.SIGKILL)
    os.waitid(os.P_PID, parties[0].pid, os.WEXITED | os.WNOWAIT)
    say("go", parties[4:])
    given_up, _ = last_words(parties[1:])
    assert given_up == []


class Bench:
    """Boards of runs that live in this process, and a clock."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.now = 1000.0
        self.locks: dict[str, int] = {}

    def board(self, run: str, *above: str) -> WaitBoard:
        run_dir = RunDir(self.home / "runs" / run)
        run_dir.path.mkdir(parents=True)
        lock = try_lock(run_dir.supervisor_lock)
        assert lock is not None
        self.locks[run] = lock
        return WaitBoard(run_dir, f"{above[-1]}/{run}.n" if above else f"{run}.n", above)

    def look(self, looks: int, *boards: tuple[WaitBoard, list[Wait]], while_locked: bool = False) -> list[Victim]:
        """All look in turn, `looks` times, until somebody gives up. `while_locked`: somebody else is deciding meanwhile."""
        lock = None
        if while_locked:
            (self.home / "waits").mkdir(exist_ok=True)
            lock = try_lock(self.home / "waits" / "lock")
            assert lock is not None
        given_up: list[Victim] = []
        for _ in range(looks):
            self.now += OBSERVE_SECONDS
            given_up = given_up or [victim for board, found in boards for victim in board.look_at_board(found, self.now)]
        if lock is not None:
            os.close(lock)
        return given_up

    def posted(self) -> list[str]:
        folder = self.home / "waits"
        return sorted(path.name for path in folder.glob("*.json")) if folder.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    arm(None)
    for lock in made.locks.values():
        os.close(lock)


ENOUGH = round(FOUND_WITHIN_SECONDS / OBSERVE_SECONDS)
FOR_A = Wait(item="y", resource="token a", holders=("r.n/a",))
FOR_B = Wait(item="x", resource="token b", holders=("r.n/b",))


def crossed(bench: Bench) -> tuple[tuple[WaitBoard, list[Wait]], tuple[WaitBoard, list[Wait]]]:
    return (bench.board("n", "r.n/a/1"), [FOR_B]), (bench.board("m", "r.n/b/1"), [FOR_A])


def test_a_retry_that_keeps_its_token_is_found_waiting_for_the_slot_of_its_joiner(bench: Bench) -> None:
    outer = bench.board("r"), [Wait(item="w", resource="a slot of run r", holders=("r.n/a/1",), reserves=True)]
    inner = bench.board("n", "r.n/a/1"), [Wait(item="x", resource="token w", holders=("r.n/w",))]
    (victim,) = bench.look(ENOUGH, outer, inner)
    assert victim.words == (
        "n/x waits for token w, held by r/w, which waits for a slot of run r, held by r/a, which cannot end before n/x"
    )


def test_what_does_not_hold_for_long_is_never_posted(bench: Bench) -> None:
    board = bench.board("n", "r.n/a/1")
    for number in range(20):
        assert bench.look(1, (board, [Wait(item="x", resource="pool p", holders=(f"r.n/b:{number}/1",))])) == []
        assert bench.posted() == []


def test_what_nobody_can_be_waiting_behind_is_never_posted(bench: Bench) -> None:
    board = bench.board("r")
    found = [FOR_A, Wait(item="w", resource="a slot", holders=("r.n/a/1",), reserves=True)]
    assert bench.look(ENOUGH, (board, found)) == []
    assert bench.posted() == []


def test_a_wait_that_is_over_is_taken_off_at_the_next_look(bench: Bench) -> None:
    board = bench.board("n", "r.n/a/1")
    bench.look(4, (board, [FOR_B]))
    assert bench.posted() == ["n.json"]
    bench.look(1, (board, []))
    assert bench.posted() == []


def test_a_run_whose_supervisor_is_stopped_makes_nobody_give_up(bench: Bench) -> None:
    first, second = crossed(bench)
    bench.look(2, second)
    bench.look(8, second, first, while_locked=True)
    bench.now += STALE_SECONDS
    assert bench.look(ENOUGH, first) == []
    (victim,) = bench.look(ENOUGH, second, first)
    assert victim.wait.item == "x"


def test_a_run_whose_supervisor_has_lost_its_lock_makes_nobody_give_up(bench: Bench) -> None:
    first, second = crossed(bench)
    bench.look(2, second)
    lock = bench.locks.pop("m")
    os.close(lock)
    # The one that came last would have to give up, and looks on.
    assert bench.look(ENOUGH, first, second) == []
    retaken = try_lock(RunDir(bench.home / "runs" / "m").supervisor_lock)
    assert retaken is not None
    bench.locks["m"] = retaken
    (victim,) = bench.look(4, first, second)
    assert victim.wait.item == "x"


def test_what_a_dead_process_has_posted_is_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = crossed(bench)
    bench.look(4, second)
    monkeypatch.setattr(waits, "is_same_process", lambda *_: False)
    assert bench.look(ENOUGH, first) == []
    assert bench.posted() == ["n.json"]


def test_of_what_another_version_has_posted_nothing_is_understood_and_nothing_removed(bench: Bench) -> None:
    first, _ = crossed(bench)
    (bench.home / "waits").mkdir()
    (bench.home / "waits" / "other.json").write_text('{"format": 99}')
    assert bench.look(ENOUGH, first) == []
    assert bench.posted() == ["n.json", "other.json"]


def test_while_another_decides_nobody_gives_up(bench: Bench) -> None:
    first, second = crossed(bench)
    assert bench.look(ENOUGH, first, second, while_locked=True) == []
    assert len(bench.look(1, first, second)) == 1


def test_a_shortage_of_descriptors_only_delays(bench: Bench) -> None:
    first, second = crossed(bench)
    arm("lock.taking:1:EMFILE")
    assert bench.look(ENOUGH, first, second) == []
    arm(None)
    assert len(bench.look(4, first, second)) == 1


def test_a_board_that_cannot_be_locked_is_told_in_words(bench: Bench) -> None:
    first, second = crossed(bench)
    arm("lock.taking:1:ENOLCK")
    with pytest.raises(StateUnwritableError, match=os.strerror(errno.ENOLCK)):
        bench.look(ENOUGH, first, second)


def test_a_board_that_takes_nothing_any_more_hides_no_end(bench: Bench) -> None:
    first, second = crossed(bench)
    bench.look(ENOUGH, first, second, while_locked=True)
    posted = bench.posted()
    arm("waits.closing:1:EROFS")
    first[0].close()
    arm(None)
    assert bench.posted() == posted
    second[0].close()
    assert len(bench.posted()) == len(posted) - 1


def test_waiting_costs_next_to_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten nested runs on the board: once a second one of them reads each posting once and writes its own; its other looks
    touch no file."""
    others = [(bench.board(f"o{number}", f"r.n/o:{number}/1"), [FOR_B]) for number in range(10)]
    board, seconds = bench.board("n", "r.n/a/1"), 15
    touched: list[str] = []
    of_each_look: list[int] = []
    for _ in range(round(seconds / OBSERVE_SECONDS)):
        bench.look(1, *others)
        with monkeypatch.context() as patch:
            count_calls(patch, touched, Path, "read_bytes", "write_bytes")
            count_calls(patch, touched, os, "listdir")
            board.look_at_board([FOR_B], bench.now)
        of_each_look.append(len(touched))
        touched.clear()
    assert len(bench.posted()) == 11
    assert len([count for count in of_each_look if count]) <= seconds / REFRESH_SECONDS + 1
    assert max(of_each_look) <= 10 + 2


def count_calls(patch: pytest.MonkeyPatch, called: list[str], owner: Any, *names: str) -> None:
    """Note in `called` each call of these functions of `owner`."""
    for name in names:
        patch.setattr(owner, name, counting(getattr(owner, name), called))


def counting(function: Callable[..., Any], called: list[str]) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        called.append(function.__name__)
        return function(*arguments)

    return counted
