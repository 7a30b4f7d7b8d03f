"""What an attempt that runs has written so far: for those who only look at a run, and have no engine of their own."""

from __future__ import annotations

from typing import BinaryIO

from orchestrator.store.records import Started
from orchestrator.store.run_dir import RunDir


def open_live_output(run_dir: RunDir, start: Started, stream: str) -> BinaryIO | None:
    """The file into which `stream` (stdout, stderr) of the attempt is written just now; None: nothing is there yet.

    It grows. What it holds may be the attempt's that this worker ran before: only the records tell whether `start` still runs. It
    becomes the attempt's own file by a rename, so whoever has it open sees all of it.
    """
    try:
        return (run_dir.worker_folder(start.worker) / stream).open("rb")
    except FileNotFoundError:
        return None
