"""`--detach`: a run that goes on without its terminal. The caller waits until the run has begun, so that it tells mistakes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from typing import BinaryIO

from orchestrator.system.wording import shown
from orchestrator.views.happenings import Happening, Noted, RunBegan
from orchestrator.views.json_lines import EventLines
from orchestrator.views.listener import Listener
from orchestrator.views.outlet import Outlet
from orchestrator.workers.byte_text import json_decoder

_decode: Callable[[bytes], Happening] = json_decoder(Happening)


def go_to_background(run: Callable[[Listener], int], *, as_json: bool, keeps_stdin: bool) -> int:
    """Fork. The child calls `run(listener)` in a session of its own; the caller prints the run's id, or what went wrong.

    Returns twice: each process gets its own exit code. A fork is safe here, for this process has no threads yet; in a new
    process the options would have to be parsed again.
    """
    reading, writing = os.pipe()
    # Holds what the child says on stderr before its run begins. It has no name, so nothing is left to remove.
    with tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _leave_terminal(said.fileno(), keeps_stdin=keeps_stdin)
            # Not as a slow listener: the caller reads until the run has begun, and then closes the pipe, which silences this.
            return run(EventLines(open(writing, "wb")))
        os.close(writing)
        with open(reading, "rb") as events:
            run_id = _wait_for_begin(events)
        if run_id is None:
            _, status = os.waitpid(pid, 0)
            said.seek(0)
            Outlet(sys.stderr).write(said.read().decode("utf-8", "replace"))
            return os.waitstatus_to_exitcode(status)
    from orchestrator.cli.output import write_json, write_line

    if as_json:
        write_json({"run_id": run_id})
    else:
        write_line(run_id)
    return 0


def _wait_for_begin(events: BinaryIO) -> str | None:
    for line in events:
        happening = _decode(line)
        if isinstance(happening, RunBegan):
            return happening.run_id
        if isinstance(happening, Noted):
            Outlet(sys.stderr).line(f"note: {shown(happening.message)}")
    return None


def _leave_terminal(stderr: int, *, keeps_stdin: bool) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    if not keeps_stdin:
        os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(stderr, 2)
    os.close(nothing)
