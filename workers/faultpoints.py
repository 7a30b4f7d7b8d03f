"""Named places where a test may have this very process killed with SIGKILL, or a write fail.

`ORCHESTRATE_FAULT="journal.written:3"` kills the process the third time it passes `fault_point("journal.written")`;
`"journal.write:2:ENOSPC"` makes the second pass raise that OSError instead. Without the variable a pass costs one comparison.
`"queue.seconds=60"` puts another number in the place of one that a test cannot wait for, or not be sure of (`fault_value`).
A worker reads `ORCHESTRATE_WORKER_FAULT`, so that one of the two sides is meant.
"""

from __future__ import annotations

import errno
import os
import signal

_armed: dict[str, tuple[int, int | None]] = {}
_passed: dict[str, int] = {}
_values: dict[str, float] = {}


def arm(specification: str | None) -> None:
    """Arm `specification`: `NAME[:COUNT[:ERRNO]]` or `NAME=NUMBER`, several separated by commas. None or "" disarms all."""
    for table in (_armed, _passed, _values):
        table.clear()
    for part in (specification or "").split(","):
        if not part:
            continue
        if "=" in part:
            name, _, number = part.partition("=")
            _values[name] = float(number)
            continue
        name, _, rest = part.partition(":")
        count, _, error = rest.partition(":")
        _armed[name] = (int(count or 1), getattr(errno, error) if error else None)


def fault_value(name: str, value: float) -> float:
    """`value`, or what a test has armed as `name` in its place."""
    return _values.get(name, value)


def fault_point(name: str) -> None:
    """Die here with SIGKILL, or raise the armed OSError, if a test armed `name`."""
    if not _armed or name not in _armed:
        return
    count, error = _armed[name]
    _passed[name] = _passed.get(name, 0) + 1
    if error is not None and _passed[name] >= count:
        raise OSError(error, os.strerror(error), name)
    if error is None and _passed[name] == count:
        os.kill(os.getpid(), signal.SIGKILL)
