"""State that is refused, in the user's words. Whatever is refused stays as it is."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import StateRefusedError

_LEFT = "it was left as it is"


def refused(path: Path, what: str) -> StateRefusedError:
    """`what` is wrong with the file at `path`."""
    return StateRefusedError(f"{path}: {what}", _LEFT)


def newer(path: Path, found: int) -> StateRefusedError:
    """The file has format `found`, which a later version wrote."""
    return StateRefusedError(f"{path}: format {found} is newer than this orchestrate reads", "upgrade orchestrate")


def cannot_load(error: FileNotFoundError | StateRefusedError, run_id: str) -> StateRefusedError:
    """The run exists, and loading it failed with `error`. Where nothing better is known it is told what may be saved."""
    way_out = f"{_LEFT}; orchestrate doctor --salvage {run_id} shows what can be saved"
    if isinstance(error, FileNotFoundError):
        return StateRefusedError(f"{error.filename}: missing, and the run's checkpoint needs it", way_out)
    return StateRefusedError(error.message, way_out) if error.hint == _LEFT else error
