"""State that is refused, in the user's words. Whatever is refused stays as it is."""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import StateRefusedError


def refused(path: Path, what: str) -> StateRefusedError:
    """`what` is wrong with the file at `path`."""
    return StateRefusedError(f"{path}: {what}", "it was left as it is")


def damaged(path: Path, offset: int, run_id: str) -> StateRefusedError:
    """The journal at `path` is damaged at byte `offset`, and what follows may be whole."""
    way_out = f"orchestrate doctor --salvage {run_id} shows what can be saved"
    return StateRefusedError(f"{path}: damaged at byte {offset}", f"it was left as it is; {way_out}")


def newer(path: Path, found: int) -> StateRefusedError:
    """The file has format `found`, which a later version wrote."""
    return StateRefusedError(f"{path}: format {found} is newer than this orchestrate reads", "upgrade orchestrate")


def cannot_load(error: FileNotFoundError | StateRefusedError) -> StateRefusedError:
    """A run exists, and loading it failed with `error`."""
    if isinstance(error, StateRefusedError):
        return error
    return StateRefusedError(f"{error.filename}: missing, and the run's checkpoint needs it", "nothing was changed")
