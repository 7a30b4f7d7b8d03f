"""What a plain item asks of the kernel, counted by strace: calls of supervisor, syncer and worker, syncs and bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

MOST = {
    "calls of the supervisor": 12.0,  # 9.5 to 10.9
    "calls of its syncer": 1.1,  # 1.0: an item that ends alone in its turn has a sync of its own
    "calls of the worker": 36.5,  # 30.3, and three more where the kernel counts what it kills in a control group (version 2)
    "calls of both threads at their locks": 16.0,  # 4 to 11: who comes first depends on the machine, so half as much again
    "bytes written": 2020.0,  # 1840; to files, sockets and pipes, without the names of the folder
}
"""Of an item, with one slot: what was measured, and mostly a tenth more."""

MOST_IN_QUEUES = {
    "calls of the supervisor": 2.2,  # 1.5 to 2.0; the window has few turns
    "calls of its syncer": 0.3,  # 0.12 to 0.17
    "calls of the worker": 29.5,  # 23.8, and three more as above
    "calls of both threads at their locks": 4.0,  # less than 1, as the machine likes
    "bytes written": 1890.0,  # 1600 to 1720
}
"""The same where nearly all starts are queued, and told by eight."""

NAMES_OF_THE_FOLDER = 8
"""So often what is written for an item names the folder of the jobs file, or one below it."""

MOST_SYNCS_OF_THE_REST = 15
"""Of the supervisor's main thread, at the start and at the end of a run: 14 when this was written, and one more."""

WHAT_TO_DO = """
A call costs an item up to some microseconds. What all items of a job have in common is to be asked once, and what few items need,
only for them. `strace -f -b execve -o FILE python -m orchestrator run ...` of a run with one slot shows what comes between two
forks of the worker. If an item must cost more, say in the commit what for, and write the new number and a tenth more here."""

_CALL = re.compile(r"(\w+)\(")
_WRITTEN = re.compile(r"(?:write|pwrite64|writev|sendmsg|sendto)\b.* = (\d+)$")
_FORKS = {"fork", "vfork", "clone", "clone3"}


class Trace:
    """What strace has told of a run of one job with one slot: (thread, what it did) in order."""

    def __init__(self, text: str) -> None:
        self._lines = [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines()]
        forks = Counter(thread for thread, did in self._lines if self._name(did) in _FORKS)
        self.worker = max(forks, key=lambda thread: forks[thread])
        self.supervisor = self._lines[0][0]
        begins = [at for at, (thread, did) in enumerate(self._lines) if thread == self.worker and self._name(did) in _FORKS]
        # Neither what comes once for the first items, nor the end.
        first, last = len(begins) // 5, len(begins) * 9 // 10
        self.items = last - first
        self._window = self._lines[begins[first] : begins[last]]

    def calls(self, *threads: str) -> Counter[str]:
        """Of these threads, in the middle of the run."""
        return Counter(name for thread, did in self._window if thread in threads and (name := self._name(did)))

    @property
    def syncers(self) -> list[str]:
        """Threads other than the supervisor's main thread that sync."""
        found = {thread for thread, did in self._lines if self._name(did) == "fdatasync"}
        return sorted(found - {self.supervisor, self.worker})

    def syncs_of(self, thread: str) -> int:
        """In the whole run."""
        return sum(thread == each and self._name(did) in ("fsync", "fdatasync") for each, did in self._lines)

    def bytes_of(self, *threads: str) -> int:
        """That were written in the middle of the run."""
        found = [_WRITTEN.search(did) for thread, did in self._window if thread in threads]
        return sum(int(match[1]) for match in found if match is not None)

    @staticmethod
    def _name(did: str) -> str:
        """The call that begins here; empty for one that goes on, and for a signal."""
        found = _CALL.match(did)
        return found[1] if found else ""


def traced(folder: Path, items: int, queue_seconds: int) -> Trace:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    (folder / "jobs.toml").write_text(
        f'[run]\nslots = 1\n\n[jobs.a]\nfor_each = "{{{{ range({items}) | list }}}}"\ncommand = ["{shutil.which("true")}"]\n'
    )
    # Detached where an item's own program begins: that is not ours.
    command = [strace, "-f", "-qq", "-b", "execve", "-s", "0", "-o", "trace", sys.executable, "-m", "orchestrator"]
    # Under strace an item lasts as long as it likes: so none of them is queued, or all that may be.
    fault = f"queue.seconds={queue_seconds}"
    environment = {**os.environ, "HOME": str(folder), "ORCHESTRATE_HOME": str(folder / "home"), "ORCHESTRATE_FAULT": fault}
    # The first run of a new clone keeps its modules' code in two files, and syncs both: of those that follow none does.
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [*command, "run", "jobs.toml", "--quiet"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if not (folder / "home").exists():
        pytest.skip(f"strace may not trace here: {done.stderr.strip()[:100]}")
    assert (done.returncode, done.stderr) == (0, "")
    return Trace((folder / "trace").read_text(errors="replace"))


@pytest.mark.parametrize("items", [60, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("queue_seconds", "most"), [(0, MOST), (60, MOST_IN_QUEUES)], ids=["by itself", "in queues"])
def test_a_plain_item_asks_no_more_of_the_kernel_than_it_did(
    items: int, queue_seconds: int, most: dict[str, float], disk_path: Path
) -> None:
    trace = traced(disk_path, items, queue_seconds)
    calls = {
        "calls of the supervisor": trace.calls(trace.supervisor),
        "calls of its syncer": trace.calls(*trace.syncers),
        "calls of the worker": trace.calls(trace.worker),
    }
    at_locks = calls["calls of the supervisor"].pop("futex", 0) + calls["calls of its syncer"].pop("futex", 0)
    counts = {
        **{name: each.total() for name, each in calls.items()},
        "calls of both threads at their locks": at_locks,
        "bytes written": trace.bytes_of(trace.supervisor, trace.worker) - NAMES_OF_THE_FOLDER * len(str(disk_path)) * trace.items,
    }
    found = {name: count / trace.items for name, count in counts.items()}
    over = {name: f"{found[name]:.2f}, at most {bound}" for name, bound in most.items() if found[name] > bound}
    of_an_item = {
        name: {call: round(count / trace.items, 2) for call, count in each.most_common()} for name, each in calls.items()
    }
    assert not over, f"{over}\n{of_an_item}{WHAT_TO_DO}"
    assert trace.syncs_of(trace.supervisor) <= MOST_SYNCS_OF_THE_REST
