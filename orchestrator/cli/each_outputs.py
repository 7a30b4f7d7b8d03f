"""What the items of `each` print, on stdout: each whole, as soon as its turn comes.

In item order an item is printed when all before it have been: the same bytes, however long they take. What a run leaves
unprinted (items that never ended, ends that a listener was not told of) is printed behind it: nothing is lost or comes twice.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from orchestrator.cli.output import OutputError, flush, write_bytes, write_raw
from orchestrator.store.records import Status
from orchestrator.store.run_dir import RunDir
from orchestrator.views.happenings import Happening, ItemEnded, RunBegan
from orchestrator.workers.byte_text import bytes_of_text

if TYPE_CHECKING:
    from orchestrator.reading.follower import RunFollower

_BLOCK_BYTES = 1 << 16


class _End(msgspec.Struct, frozen=True):
    """How often an item was tried, and what it is called."""

    attempts: int
    label: str | None


class Outputs:
    """A listener that prints. `in_order`: of items, else as they end. `is_tagged`: each line begins with what its item is called.

    `is_agent`: the answers of an agent, not what its program prints.
    """

    def __init__(self, home: Path, *, in_order: bool, is_tagged: bool, is_agent: bool) -> None:
        self._home = home
        self._in_order = in_order
        self._is_tagged = is_tagged
        self._is_agent = is_agent
        self.shows_time = is_agent
        self._lock = threading.Lock()
        """A thread that listens may still print when `finish` is called."""
        self._run_dir: RunDir | None = None
        self._follower: RunFollower | None = None
        self._ends: dict[int, _End] = {}
        """Items that have ended and are not printed yet."""
        self._first = 0
        """All items before it are printed."""
        self._printed: set[int] = set()
        """Those behind it that are."""
        self._error: BrokenPipeError | OutputError | None = None

    def hear(self, happening: Happening) -> None:
        """Print the item that has ended, and those that waited for it."""
        with self._lock:
            match happening:
                case RunBegan():
                    self._run_dir = RunDir.of(self._home, happening.run_id)
                case ItemEnded() if self._error is None:
                    index = int(happening.item.rpartition(":")[2])
                    self._ends[index] = _End(happening.attempts, happening.label)
                    self._print_known([self._first if self._in_order else index])

    def refresh(self, now: float) -> None:
        """Print answers that were not recorded when their items were heard to have ended."""
        del now
        with self._lock:
            if self._ends and self._error is None:
                self._print_known([self._first] if self._in_order else sorted(self._ends))

    def close(self) -> None:
        """Stdout is not its own."""

    def finish(self) -> None:
        """Print all that is left, in item order. Raises BrokenPipeError, OutputError."""
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._run_dir is None:
                return
            history = self._followed().reader.history.jobs["each"]
            for index in range(self._first, history.count or 0):
                # Those right behind one that is printed are printed with it.
                if index >= self._first and index not in self._printed:
                    self._ends.setdefault(index, _End(history.attempts(index), None))
                    self._print_from(index)
            flush()

    def _print_known(self, indices: list[int]) -> None:
        """Print from each of these items on what is known by now. The run goes on without a reader; `finish` tells."""
        try:
            for index in indices:
                self._print_from(index)
            flush()
        except (BrokenPipeError, OutputError) as error:
            self._error = error

    def _print_from(self, index: int) -> None:
        """Print that item, if it has ended, and those right behind it."""
        while (end := self._ends.get(index)) is not None and (not self._is_agent or self._is_recorded(index, end)):
            self._print(index, end)
            del self._ends[index]
            self._printed.add(index)
            while self._first in self._printed:
                self._printed.remove(self._first)
                self._first += 1
            index += 1

    def _print(self, index: int, end: _End) -> None:
        # What an agent says is words for people; what a program prints is data.
        write = write_bytes if self._is_agent else write_raw
        tagged = _Tagged(self._label(index, end), write) if self._is_tagged else None
        if tagged is not None:
            write = tagged.write
        stream = self._answer(index) if self._is_agent else self._output(index, end.attempts)
        if stream is not None:
            with stream:
                while block := stream.read(_BLOCK_BYTES):
                    write(block)
        if tagged is not None:
            tagged.close()

    def _is_recorded(self, index: int, end: _End) -> bool:
        """Whether the answer can be read: an end is heard of before its group is written."""
        past = self._followed().reader.history.jobs["each"]
        return past.attempts(index) == end.attempts and past.status(index) is not Status.RUNNING

    def _answer(self, index: int) -> BinaryIO | None:
        answer = self._followed().reader.output("each", index)
        return None if answer is None else io.BytesIO(bytes_of_text(f"{answer}\n"))

    def _output(self, index: int, attempt: int) -> BinaryIO | None:
        """What the attempt has printed; None: nothing."""
        # An item that was never started has no output.
        if not attempt:
            return None
        from orchestrator.cli.streams import opened

        assert self._run_dir is not None
        return opened(Path(self._run_dir.output_paths("each", index, attempt)[0]))

    def _label(self, index: int, end: _End) -> str:
        from orchestrator.reading.item_names import label_of

        return end.label or label_of(self._followed().reader, "each", index) or f"each:{index}"

    def _followed(self) -> RunFollower:
        """The run as it is recorded now."""
        if self._follower is None:
            from orchestrator.reading.follower import RunFollower

            assert self._run_dir is not None
            self._follower = RunFollower(self._run_dir)
        else:
            self._follower.take_in_appended()
        return self._follower


class _Tagged:
    """Writes lines, each behind a name and a tab."""

    def __init__(self, name: str, write: Callable[[bytes], None]) -> None:
        self._before = bytes_of_text(name) + b"\t"
        self._put = write
        self._is_within = False

    def write(self, data: bytes) -> None:
        """Write the next bytes."""
        for line in data.split(b"\n")[:-1]:
            self._write(line + b"\n")
        if rest := data.rpartition(b"\n")[2]:
            self._write(rest)

    def _write(self, data: bytes) -> None:
        self._put(data if self._is_within else self._before + data)
        self._is_within = not data.endswith(b"\n")

    def close(self) -> None:
        """End a line that has no end: the next one is another item's."""
        if self._is_within:
            self._put(b"\n")
