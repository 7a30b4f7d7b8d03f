"""Which reader reads which format of a stream (`format` of a profile)."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.reading import Reading
from .fenced_reader import FencedReader
from .stream import AgentStream
from .stream_reader import StreamReader

READERS: dict[str, Callable[[Reading, Callable[[], float]], StreamReader]] = {"json": AgentStream, "text": AgentStream}
"""By the values of `Reading.format`."""


def reader_of(reading: Reading, wall_now: Callable[[], float]) -> FencedReader:
    """A reader for one attempt, which raises nothing.

    `wall_now`: seconds since the epoch, asked for where a text tells of a reset in its own words.
    """
    return FencedReader(READERS[reading.format](reading, wall_now))
