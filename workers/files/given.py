"""What an agent is given by file: its standard input, and a script that is too large for an argument."""

from __future__ import annotations

import os

from ..byte_text import bytes_of_text
from .placing import open_anew


def stdin_file(text: str, folder: str) -> int:
    """A nameless file that holds `text`, at its beginning: however slowly the agent reads, nobody has to feed it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stdin")
    else:
        path = f"{folder}/stdin"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.unlink(path)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(bytes_of_text(text))
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def script_file(text: str, folder: str) -> str:
    """The path of a file that holds `text`, a script."""
    path = f"{folder}/script"
    with open(open_anew(path), "wb") as file:
        file.write(bytes_of_text(text))
    return path
