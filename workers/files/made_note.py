"""The note of what the files of `creates` were made of: there is one exactly as long as that is known."""

from __future__ import annotations

import os
from contextlib import suppress

from ..protocol import MadeNote
from .syncing import make_folder, replace_durably, sync_folder


def remove_note(note: MadeNote) -> None:
    """The files are about to be made anew. Survives power loss: else the old note would tell of the new files. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(note.path)
        sync_folder(os.path.dirname(note.path))


def leave_note(note: MadeNote) -> str:
    """The files are in place; "" or in words why the note could not be written: then the item runs again. Survives power loss."""
    try:
        make_folder(os.path.dirname(note.path), None)
        replace_durably(note.path, note.data)
    except OSError as error:
        return f"what it was made of could not be noted, so it runs again: {note.path}: {error.strerror}"
    return ""
