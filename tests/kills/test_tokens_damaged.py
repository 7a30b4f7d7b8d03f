"""The files of a token are removed, or cannot be locked or written: nobody starts beside a living holder."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.processes import is_living
from drivers.sweeps import sweep
from drivers.token_runs import TOKEN, TokenRuns

from orchestrator.shared.tokens.record import TokenFiles

RUNS = TokenRuns


# The lock file.


def remove(lock: Path) -> None:
    lock.unlink()


def replace(lock: Path) -> None:
    (lock.parent / "new").write_text("")
    os.replace(lock.parent / "new", lock)


@pytest.mark.parametrize("damage", sweep([replace, remove], quick=1))
def test_a_lock_file_removed_under_a_living_holder_lets_nobody_in(runs: TokenRuns, damage: Callable[[Path], None]) -> None:
    runs.job()
    holder = runs.holder()
    waiting = runs.waiter("waiting")
    damage(TokenFiles(runs.home).lock_path(TOKEN))
    late = runs.waiter("late")
    runs.open_gate()
    for command in (holder, waiting, late):
        runs.assert_exit(command, 0)
    runs.assert_started("first/go")
    for name in ("waiting", "late"):
        runs.assert_shared(name, "first/go")


@pytest.mark.parametrize("damage", sweep([remove, replace], quick=1))
def test_a_lock_file_removed_under_an_orphan_lets_nobody_in_before_it_is_dead(
    runs: TokenRuns, damage: Callable[[Path], None]
) -> None:
    runs.job()
    holder = runs.holder()
    worker, agent = runs.process_of("first", "go")
    holder.send(signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    holder.kill()
    damage(TokenFiles(runs.home).lock_path(TOKEN))
    second = runs.start("second")
    assert runs.begin_of(2) == "second/go"
    assert not is_living(agent)
    runs.open_gate()
    runs.assert_exit(second, 0)
    runs.assert_started("first/go", "second/go")


def test_what_a_lock_file_says_is_not_believed(runs: TokenRuns) -> None:
    """It names a process that lives and has nothing to do with it: a flock is what counts."""
    runs.job("echo done")
    runs.assert_exit(runs.start("first"), 0)
    TokenFiles(runs.home).lock_path(TOKEN).write_text(f"{os.getpid()}\n")
    runs.assert_exit(runs.start("second"), 0)
    runs.assert_started("first/go", "second/go")


@pytest.mark.parametrize(("which", "number"), sweep([("slots", "ENOLCK"), ("tokens", "ENOSYS"), ("tokens", "ENOLCK")], quick=2))
def test_a_file_system_without_locks_is_refused_in_words(runs: TokenRuns, which: str, number: str) -> None:
    runs.job("echo done")
    # The first lock of all is the supervisor's own.
    command = runs.start("first", fault=f"lock.taking:{2 if which == 'slots' else 3}:{number}")
    assert command.exit_code() == 74, command.stderr
    assert "cannot be locked" in command.stderr
    assert which in command.stderr
    assert "Traceback" not in command.stderr
    assert not runs.starts()
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go")


# The verdict cannot be written.


@pytest.mark.slow
def test_a_disk_that_is_full_when_the_verdict_is_published(runs: TokenRuns) -> None:
    """Exit 74, soon; the outcome is recorded, so who waits gets it, the resume starts nothing, nor does a later run."""
    runs.job(keys='token_ttl = "1h"')
    holder = runs.holder(fault="token.publishing:1:ENOSPC")
    second = runs.waiter("second")
    runs.open_gate()
    assert holder.exit_code() == 74, holder.stderr
    assert "free some space there, then resume the run" in holder.stderr
    assert "Traceback" not in holder.stderr
    runs.assert_exit(second, 0)
    runs.assert_shared("second", "first/go")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_exit(runs.start("third"), 0)
    runs.assert_started("first/go")
    runs.assert_shared("third", "first/go")


def test_a_disk_that_is_full_at_a_verdict_while_another_item_runs(runs: TokenRuns) -> None:
    """What runs is let be, and leaves its outcome: the resume takes it in."""
    other = f"[jobs.other]\nshell = '''{runs.witnessed(runs.gated('other'), 'other')}'''\n"
    runs.job(run="slots = 2", more=other)
    holder = runs.holder(fault="token.publishing:1:ENOSPC")
    runs.wait_for("begin", "first/other")
    worker, _ = runs.process_of("first", "other")
    runs.open_gate()
    assert holder.exit_code() == 74, holder.stderr
    assert is_living(worker)
    runs.open_gate("other")
    runs.assert_exit(runs.launch("resume", "first"), 0)
    assert sorted(runs.starts()) == ["first/go", "first/other"]


# The record was torn by a power cut.


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed_at_the_end(data: bytes) -> bytes:
    return data[:40] + bytes(len(data) - 40)


@pytest.mark.parametrize("torn", sweep([cut_in_half, zeroed_at_the_end], quick=1))
def test_a_record_that_a_power_cut_has_torn_does_not_stop_its_own_run(runs: TokenRuns, torn: Callable[[bytes], bytes]) -> None:
    runs.job()
    holder = runs.holder()
    worker, agent = runs.process_of("first", "go")
    holder.send(signal.SIGSTOP)
    os.kill(worker, signal.SIGKILL)
    os.kill(agent, signal.SIGKILL)
    holder.kill()
    record = TokenFiles(runs.home).record_path(TOKEN)
    record.write_bytes(torn(record.read_bytes()))
    runs.open_gate()
    runs.assert_exit(runs.launch("resume", "first"), 0)
    runs.assert_started("first/go", "first/go")
