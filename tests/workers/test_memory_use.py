"""Looking at what an attempt has in memory: by its tree, so that the machine's other processes cost nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from drivers.processes import wait_until

from orchestrator.workers.processes import memory_use
from orchestrator.workers.processes.memory_use import MemoryPauses, used_by_attempt
from orchestrator.workers.processes.surroundings import Host
from orchestrator.workers.processes.tree import children_now

MIB = 1 << 20
TAKE = "import os, time; print(os.getpid(), flush=True); held = bytearray(30 << 20); print(flush=True); time.sleep(600)"


class NoControl:
    """Nobody waits here."""

    def wait(self, _timeout_seconds: float | None) -> list[object]:
        return []

    def wake_at_write(self) -> bool:
        return False

    def is_supervisor_gone(self) -> bool:
        return False


@pytest.fixture
def host() -> Host:
    """This process, with the children that it has already."""
    return Host("/nowhere/0", NoControl(), children_now(), is_subreaper=True)  # type: ignore[arg-type]


@pytest.fixture
def tree(host: Host, tmp_path: Path) -> Iterator[list[int]]:  # noqa: ARG001 (made before its children)
    """Three processes: a shell, a child that has 30 MiB, and one of that child's session of its own."""
    program = f"{sys.executable} -S -c '{TAKE}'"
    with subprocess.Popen(["sh", "-c", f"{program} >> {tmp_path}/pids & setsid {program} >> {tmp_path}/pids & wait"]) as shell:
        written = tmp_path / "pids"
        wait_until(lambda: written.exists() and written.read_text().count("\n") == 4, "both have taken their memory")
        pids = [int(line) for line in written.read_text().split()]
        yield [shell.pid, *pids]
        for pid in pids:
            os.kill(pid, 9)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each file and folder of /proc that is looked at."""
    seen: list[str] = []
    opened, listed = os.open, os.listdir

    def open_(path: str, *rest: int) -> int:
        seen.append(str(path))
        return opened(path, *rest)

    def listdir(path: str) -> list[str]:
        seen.append(str(path))
        return listed(path)

    monkeypatch.setattr(memory_use.os, "open", open_)
    monkeypatch.setattr(memory_use.os, "listdir", listdir)
    return seen


def test_it_is_what_all_processes_of_the_tree_have_together(host: Host, tree: list[int]) -> None:
    used = used_by_attempt("mark", 0, host)
    assert 60 * MIB < used < 200 * MIB
    assert used == pytest.approx(sum(psutil.Process(pid).memory_info().rss for pid in tree), rel=0.1)


def test_a_look_reads_a_few_files_of_each_process_of_the_tree_and_of_no_other(
    host: Host, tree: list[int], reads: list[str]
) -> None:
    used_by_attempt("mark", 0, host)
    threads = len(os.listdir("/proc/self/task"))
    assert len(reads) <= 4 * len(tree) + threads + 3
    looked_at = {int(path.split("/")[2]) for path in reads if path.startswith("/proc/") and path.split("/")[2].isdigit()}
    assert looked_at == {os.getpid(), *tree}


def test_without_the_kernels_help_it_is_found_all_the_same(host: Host, tree: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert tree
    expected = used_by_attempt("mark", 0, host)
    monkeypatch.setattr(memory_use.os.path, "exists", lambda _: False)
    assert used_by_attempt("mark", 0, host) == pytest.approx(expected, rel=0.1)


def pauses_at(used: int, looks: int, workers: int = 1) -> list[float]:
    """At a tree that may use 100 MiB and stands still."""
    pauses = MemoryPauses(100 * MIB, lambda: workers)
    return [pauses.pause_after(used * MIB) for _ in range(looks)]


def test_a_tree_that_uses_the_same_is_looked_at_ever_later_up_to_a_second() -> None:
    assert pauses_at(5, 8) == pytest.approx([0.2, 0.3, 0.45, 0.675, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(("workers", "longest"), [(3, 1.0), (16, 4.8), (64, 19.2), (1000, 20.0)])
def test_all_trees_of_a_run_that_rest_are_looked_at_three_times_a_second_together(workers: int, longest: float) -> None:
    """If this fails, 64 idle agents cost more than five wake-ups a second, all together."""
    assert pauses_at(5, 20, workers)[-1] == pytest.approx(longest)


def test_a_tree_that_is_near_its_limit_is_looked_at_each_second() -> None:
    assert pauses_at(51, 20, workers=64)[-1] == 1.0


def test_what_grows_slowly_is_no_tree_that_uses_the_same() -> None:
    pauses = MemoryPauses(100 * MIB, lambda: 64)
    assert max(pauses.pause_after(used * MIB) for used in range(100)) == pytest.approx(0.3)


def test_a_tree_that_begins_to_do_something_is_looked_at_soon() -> None:
    pauses = MemoryPauses(100 * MIB, lambda: 64)
    for _ in range(20):
        pauses.pause_after(0)
    pauses.end_rest()
    assert pauses.pause_after(0) == pytest.approx(0.3)


def test_the_workers_of_a_run_are_counted_by_their_folders(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / str(number)).mkdir()
    host = Host(str(tmp_path / "0"), NoControl(), frozenset(), is_subreaper=True)  # type: ignore[arg-type]
    assert host.count_workers() == 3
