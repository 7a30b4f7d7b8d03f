"""A file read without its holes: after a power cut gigabytes of zeros may stand where nothing was written.

Promise: no more is in memory than what stands together without a whole block of zeros in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

BLOCK_BYTES = 1 << 18

_ZEROS = bytes(BLOCK_BYTES)


def written_parts(read: Callable[[int, int], bytes], start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of all that stands from `start` to `end`, but for blocks of nothing but zeros: a part ends at such a one.

    `read`: gives so many bytes at an offset, fewer only at the end of the file; what it raises is raised.
    """
    part = bytearray()
    place = start
    while place < end and (block := read(place, min(BLOCK_BYTES, end - place))):
        # A comparison, which looks at no byte twice: a hole is read as quickly as the kernel gives it.
        if block != (_ZEROS if len(block) == BLOCK_BYTES else bytes(len(block))):
            part += block
        elif part:
            yield place - len(part), bytes(part)
            part.clear()
        place += len(block)
    if part:
        yield place - len(part), bytes(part)
