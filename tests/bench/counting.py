"""`counting.py REPORT ARGUMENTS…`: `orchestrate ARGUMENTS…`, and how often it called fsync and fdatasync, written to REPORT.

Counted inside the process, which costs nothing: strace slows a run so much that its groups are no longer the usual ones. Calls
of the workers are not counted: they sync outputs larger than 4 KiB and promised files only, which the jobs here do not have.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path

_calls = itertools.count()  # one step of it is atomic: several threads sync


def _counted(sync: Callable[[int], None]) -> Callable[[int], None]:
    def counted(fd: int) -> None:
        next(_calls)
        sync(fd)

    return counted


def main() -> int:
    """The exit code of the command."""
    os.fsync, os.fdatasync = _counted(os.fsync), _counted(os.fdatasync)
    report = Path(sys.argv.pop(1))
    from orchestrator.cli import main as orchestrate

    try:
        return orchestrate()
    finally:
        report.write_text(str(next(_calls)))


if __name__ == "__main__":
    sys.exit(main())
