"""Measures one command with everything that it starts, also what it detaches: `meter.py REPORT COMMAND…`.

The meter is a subreaper: a process whose parent dies becomes its child. It waits until no descendant is left, so that the
kernel's sums for waited-for children (`RUSAGE_CHILDREN`, /proc/self/io) hold the whole tree. Linux only.
Refuses to guess: a tree that does not end makes the meter wait, and the caller sets the time limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Reading:
    """What one command took. `wall_seconds` ends with the last process of the tree, `command_seconds` with the command itself.

    `written_bytes` counts what the tree handed to write(2) and its like, sockets and pipes included; `peak_bytes` is the
    largest resident size of the command or of a process that it waited for.
    """

    exit_code: int
    command_seconds: float
    wall_seconds: float
    cpu_seconds: float
    written_bytes: int
    peak_bytes: int


def measure(argv: list[str]) -> Reading:
    """Run `argv` here and wait for its whole tree. To be called once in a process of its own: the sums are the process's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")
    written_before = _written_bytes()
    begun = time.monotonic()
    pid = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(pid, 0)
    command_ended = time.monotonic()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    ended = time.monotonic()
    tree = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Reading(
        exit_code=os.waitstatus_to_exitcode(status),
        command_seconds=command_ended - begun,
        wall_seconds=ended - begun,
        cpu_seconds=tree.ru_utime + tree.ru_stime,
        written_bytes=_written_bytes() - written_before,
        peak_bytes=usage.ru_maxrss * 1024,
    )


def metered(argv: list[str], *, cwd: Path, env: dict[str, str], report: Path, timeout_seconds: float = 3600) -> Reading:
    """Measure `argv` by a meter of its own; its stdout and stderr go to files beside `report`. Raises TimeoutExpired."""
    meter = start_meter(argv, cwd=cwd, env=env, report=report)
    try:
        return read_meter(meter, report, timeout_seconds)
    finally:
        end_meter(meter)


def start_meter(argv: list[str], *, cwd: Path, env: dict[str, str], report: Path) -> subprocess.Popen[bytes]:
    """As of `metered`. All that `argv` starts descends from it, also what is detached."""
    with report.with_suffix(".stdout").open("wb") as stdout, report.with_suffix(".stderr").open("wb") as stderr:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(report), *argv],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


def read_meter(meter: subprocess.Popen[bytes], report: Path, timeout_seconds: float) -> Reading:
    """What it has measured, once all has ended. Raises TimeoutExpired."""
    meter.wait(timeout_seconds)
    return Reading(**json.loads(report.read_text()))


def end_meter(meter: subprocess.Popen[bytes]) -> None:
    """End it with all that descends from it, where it has not ended by itself."""
    import psutil  # not in the meter's own process

    if meter.poll() is None:
        # Itself first: what its descendants leave behind is then nobody's.
        for process in [psutil.Process(meter.pid), *psutil.Process(meter.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                process.kill()
    meter.wait()


def _written_bytes() -> int:
    """Bytes written by this process and by all that it has waited for (the kernel adds a child's sums when it is reaped)."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(asdict(measure(sys.argv[2:]))))
