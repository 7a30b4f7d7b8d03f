"""`counting.py REPORT ARGUMENTS…`: `orchestrate ARGUMENTS…`, and how often it called fsync and fdatasync so far, in REPORT.

Counted inside the process, which costs nothing: strace slows a run so much that its groups are no longer the usual ones. Calls
of the workers are not counted: they sync outputs larger than 4 KiB and promised files only, which the jobs here do not have.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path

SIZE = 8

_calls = itertools.count(1)  # one step of it is atomic: several threads sync


def _counted(sync: Callable[[int], None], report: mmap.mmap) -> Callable[[int], None]:
    def counted(fd: int) -> None:
        report[:] = next(_calls).to_bytes(SIZE, "little")
        sync(fd)

    return counted


def counted_so_far(report: Path) -> int:
    """The syncs of the process that writes `report`; also while it runs."""
    return int.from_bytes(report.read_bytes(), "little")


def main() -> int:
    """The exit code of the command."""
    path = sys.argv.pop(1)
    Path(path).write_bytes(bytes(SIZE))
    with open(path, "r+b") as file:
        report = mmap.mmap(file.fileno(), SIZE)
    os.fsync, os.fdatasync = _counted(os.fsync, report), _counted(os.fdatasync, report)
    from orchestrator.cli import main as orchestrate

    return orchestrate()


if __name__ == "__main__":
    sys.exit(main())
