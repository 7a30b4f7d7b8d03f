"""The command line of a worker: all that everybody may read of it, so what others have to know of a worker stands there.

Written and read here alone. Who looks for the attempts around a process, and who ends what a killed worker left, go by it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import msgspec

from .protocol import MARK_VARIABLE

WARM = "-"
"""In place of the folder: it serves in none, and forks workers (`warm`)."""
_MAIN = "__main__.py"
_PLACE_OF_MAIN = 3
"""Behind the interpreter and its options."""


class WorkerTold(msgspec.Struct, frozen=True):
    """What the command line of a worker tells: its folder, and the mark of the attempt that its run is nested in (or "")."""

    folder: str
    mark: str


def worker_argv(folder: str) -> list[str]:
    """The command line of a worker. It is told our module path: finding it anew (`site`) costs a fifth of Python's own start."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), _MAIN)
    mark = os.environ.get(MARK_VARIABLE, "")
    return [sys.executable, "-I", "-S", main, folder, mark, *(os.path.abspath(entry) for entry in sys.path)]


def worker_told(argv: Sequence[str]) -> WorkerTold | None:
    """What a command line tells of a worker; None: it is none's. Anybody may give a process such a command line."""
    main, folder, mark = [*argv[_PLACE_OF_MAIN : _PLACE_OF_MAIN + 3], "", "", ""][:3]
    is_worker = main.endswith(f"/workers/{_MAIN}") and folder.startswith("/")
    return WorkerTold(folder, mark) if is_worker else None


def folder_of(argv: Sequence[bytes]) -> str:
    """The folder in a command line of `worker_argv`."""
    return os.fsdecode(argv[_PLACE_OF_MAIN + 1])
