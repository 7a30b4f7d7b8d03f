"""What running items have printed so far, for `each --line-buffer`: their lines as they come.

An attempt writes into a file of its worker, which is renamed when the attempt ends and followed by the next one's. So the file is
opened once, while the attempt is known to run, and stays open: whatever it is called later, it is the attempt's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.engines.onlookers import open_live_output, runs_now

if TYPE_CHECKING:
    from orchestrator.reading.run_reader import RunReader

_MOST_AT_ONCE = 1 << 20


class RunningOutputs:
    """The outputs of attempts that run; `look` gives the run as it is recorded now."""

    def __init__(self, look: Callable[[], RunReader]) -> None:
        self._look = look
        self._opened: dict[int, BinaryIO | None] = {}
        self._given: dict[int, int] = {}
        """Bytes of each that were given on."""

    @property
    def items(self) -> list[int]:
        """The items that run."""
        return [*self._opened]

    def begin(self, index: int) -> None:
        """An attempt of the item has started."""
        self._opened[index], self._given[index] = None, 0

    def new_lines(self, index: int) -> bytes:
        """What came since the last call, up to the end of a line."""
        stream = self._opened[index] or self._open(index)
        if stream is None:
            return b""
        stream.seek(self._given[index])
        data = stream.read(_MOST_AT_ONCE)
        # A line that is longer than all that is read at once comes in parts.
        whole = data if len(data) == _MOST_AT_ONCE else data[: data.rfind(b"\n") + 1]
        self._given[index] += len(whole)
        return whole

    def end(self, index: int) -> int:
        """The attempt has ended: how many of its bytes were given."""
        stream = self._opened.pop(index, None)
        if stream is not None:
            stream.close()
        return self._given.pop(index, 0)

    def _open(self, index: int) -> BinaryIO | None:
        reader = self._look()
        start = reader.history.open_starts.get(("each", index))
        stream = open_live_output(reader.run_dir, start, "stdout") if start is not None else None
        if start is None or stream is None:
            return None
        # Asked once it is open: had the attempt ended before, this would be the file of the next one.
        if not runs_now(reader.run_dir, start):
            stream.close()
            return None
        self._opened[index] = stream
        return stream
