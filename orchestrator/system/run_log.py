"""supervisor.log: what a supervisor did that a person may want to know later.

Only for people: an entry survives SIGKILL, and after a power loss nothing is missing without which a run could not go on.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import for_terminal
from orchestrator.workers.files.opening import open_file


def append_log(path: Path, message: str) -> None:
    """Add one entry, without secrets. Survives SIGKILL. A log that cannot be written ends no run: the records tell the state.

    Whoever has the log shown by `cat` or `tail` is told by lines of ours alone: what follows the first line of an entry is
    indented, and nothing in it drives a terminal.
    """
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        return
    try:
        # One write: entries of two processes do not mix.
        told = for_terminal(of_this_process().redact_text(message)).replace("\n", "\n  ")
        os.write(fd, f"{stamp} [{os.getpid()}] {told}\n".encode())
    except OSError:
        return
    finally:
        os.close(fd)
