"""supervisor.log: what a supervisor did that a person may want to know later.

Only for people: an entry survives SIGKILL, and after a power loss nothing is missing without which a run could not go on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from orchestrator.system.redaction import of_this_process
from orchestrator.workers.files.opening import open_file


def append_log(path: Path, message: str) -> None:
    """Add one entry, without secrets. Survives SIGKILL. A log that cannot be written ends no run: the records tell the state."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        return
    try:
        # One write: entries of two processes do not mix.
        entry = f"{stamp} [{os.getpid()}] {message}\n".encode("utf-8", "backslashreplace")
        os.write(fd, of_this_process().redact(entry))
    except OSError:
        return
    finally:
        os.close(fd)
