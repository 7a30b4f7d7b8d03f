"""The lines of stdin, which are the items of `each`: read one at a time, so that memory does not grow with their number."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import IO, TYPE_CHECKING, BinaryIO

from orchestrator.cli.noting import tell_note
from orchestrator.errors import UserError
from orchestrator.workers.byte_text import BYTE_ORDER_MARK, UTF16_MARKS, text_of_bytes

if TYPE_CHECKING:
    from orchestrator.system.coming_input import ComingInput

MOST_HELD_BYTES = 8 << 20
"""Of lines that end in CR LF so much is held in memory; more lies in a temporary file."""

_BLOCK_BYTES = 1 << 16


def stdin_lines() -> Iterator[str]:
    """The lines of stdin, byte for byte. Raises UserError as `item_lines` does."""
    return item_lines(stdin_stream(), tell_note)


def coming_stdin() -> ComingInput | None:
    """Stdin, if it may still come when the run begins: a pipe, a socket, a terminal; None: it is a file, or there is none."""
    try:
        fd = -1 if sys.stdin is None else sys.stdin.fileno()
        kind = os.fstat(fd).st_mode
    except (OSError, ValueError):  # none, or no file of the system
        return None
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(fd)):
        return None
    from orchestrator.system.coming_input import ComingInput

    return ComingInput(fd)


def stdin_stream(coming: ComingInput | None = None) -> BinaryIO:
    """Stdin for bytes; an empty one if this process was started without. At a terminal it is said that items are read.

    `coming`: by which it is read.
    """
    if sys.stdin is None:
        return io.BytesIO()
    if sys.stdin.isatty():
        from orchestrator.views.outlet import Outlet

        Outlet(sys.stderr).line("reading items from the terminal, one a line; Ctrl-D ends them")
    return sys.stdin.buffer if coming is None else io.BufferedReader(coming, _BLOCK_BYTES)


def parted_by(separator: bytes, stream: BinaryIO, name: str = "stdin") -> Iterator[str]:
    """What stands between separators (not empty), byte for byte; behind the last one only if there is something.

    Read as it comes. Raises UserError for a stream that cannot be read.
    """
    begun = b""
    try:
        while block := stream.read1(_BLOCK_BYTES):  # type: ignore[attr-defined]
            *whole, begun = (begun + block).split(separator)
            yield from map(text_of_bytes, whole)
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}", "give it items, each ended as -0 or -d says") from error
    if begun:
        yield text_of_bytes(begun)


def item_lines(stream: BinaryIO, note: Callable[[str], None], name: str = "stdin") -> Iterator[str]:
    """The lines of `stream` as `workers.byte_text.lines_of` has them. `note` hears that they go without CR LF or a mark.

    Raises UserError: UTF-16, a stream that cannot be read, no room for lines that end in CR LF.
    """
    lines = _lines_of(stream, name)
    first = next(lines, b"")
    if first.startswith(UTF16_MARKS):
        raise UserError(f"{name} is in UTF-16", "convert it to UTF-8, as by: iconv -f UTF-16 -t UTF-8")
    unmarked = first.removeprefix(BYTE_ORDER_MARK)
    if not unmarked:
        return
    lines = chain([unmarked], lines)
    # A CR belongs to the line ends only if one stands before each of them: mostly the first line tells.
    if not first.endswith(b"\r\n"):
        if unmarked is not first:
            note(_NOTE)
        yield from _without_ends(lines, b"\n")
        return
    with tempfile.SpooledTemporaryFile(MOST_HELD_BYTES) as held:
        is_dos = _hold(lines, held)
        if is_dos or unmarked is not first:
            note(_NOTE)
        yield from _without_ends(held, b"\r\n" if is_dos else b"\n")


_NOTE = "the lines come with CR LF or a byte order mark, as Windows writes them; items go without"


def _lines_of(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines with their ends. One without an end is the last: a terminal would be asked for more."""
    line = b"\n"
    try:
        while line.endswith(b"\n") and (line := stream.readline()):
            yield line
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}", "give it lines, one an item") from error


def _without_ends(lines: Iterable[bytes], end: bytes) -> Iterator[str]:
    return (text_of_bytes(line.removesuffix(end)) for line in lines)


def _hold(lines: Iterable[bytes], held: IO[bytes]) -> bool:
    """Write the lines to `held`, to be read once more; whether each end of a line is CR LF."""
    is_dos = True
    for line in lines:
        is_dos = is_dos and (line.endswith(b"\r\n") or not line.endswith(b"\n"))
        try:
            held.write(line)
        except OSError as error:
            where, why = tempfile.gettempdir(), error.strerror
            raise UserError(f"no room in {where} for the lines of stdin: {why}", "free some there, or set TMPDIR") from error
    held.seek(0)
    return is_dos
