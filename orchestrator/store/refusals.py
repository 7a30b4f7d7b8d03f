"""State that is refused, in the user's words. Whatever is refused stays as it is."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import StateRefusedError


def refused(path: Path, what: str) -> StateRefusedError:
    """`what` is wrong with the file at `path`."""
    return StateRefusedError(f"{path}: {what}", "it was left as it is")


def newer(path: Path, found: int) -> StateRefusedError:
    """The file has format `found`, which a later version wrote."""
    return StateRefusedError(f"{path}: format {found} is newer than this orchestrate reads", "upgrade orchestrate")


def cannot_load(error: FileNotFoundError | StateRefusedError) -> StateRefusedError:
    """A run exists, and loading it failed with `error`."""
    if isinstance(error, StateRefusedError):
        return error
    return StateRefusedError(f"{error.filename}: missing, and the run's checkpoint needs it", "nothing was changed")
