"""What the items of `each` print, on stdout: each whole as soon as its turn comes, or line by line while they run.

In item order an item is printed when all before it have been: the same bytes, however long they take. What a run leaves
unprinted (items that never ended, ends that a listener was not told of) is printed behind it: nothing is lost or comes twice.
"""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from orchestrator.cli.each_running import RunningOutputs
from orchestrator.cli.output import flush, replaced, write_bytes, write_raw
from orchestrator.cli.streams import opened
from orchestrator.errors import UserError
from orchestrator.store.records import Status
from orchestrator.store.run_dir import RunDir
from orchestrator.views.happenings import Happening, ItemEnded, ItemRetrying, ItemStarted, RunBegan, RunFinished
from orchestrator.workers.byte_text import bytes_of_text

if TYPE_CHECKING:
    from orchestrator.reading.follower import RunFollower

_BLOCK_BYTES = 1 << 16


class Printing(msgspec.Struct, frozen=True):
    """How outputs are printed. `in_order`: of items, else as they end. `is_tagged`: each line behind what its item is called.

    `by_line`: while items run. `folder`: each output is written there, too. `is_agent`: the answers of an agent, not what its
    program prints.
    """

    in_order: bool = True
    is_tagged: bool = False
    by_line: bool = False
    folder: str | None = None
    is_agent: bool = False


class Outputs:
    """A listener that prints. Raises UserError for a folder that cannot be made."""

    def __init__(self, home: Path, printing: Printing) -> None:
        self._home = home
        self._printing = printing
        if printing.folder is not None:
            _make_folder(printing.folder)
        self._lock = threading.Lock()
        """A thread that listens may still print when `finish` is called."""
        self._run_dir: RunDir | None = None
        self._follower: RunFollower | None = None
        self._running = RunningOutputs(lambda: self._followed().reader)
        self._ends: dict[int, int] = {}
        """The last attempt of each item that has ended and is not printed yet."""
        self._labels: dict[int, str] = {}
        self._within: set[int] = set()
        """Items whose last line has no end yet."""
        self._first = 0
        """All items before it are printed."""
        self._printed: set[int] = set()
        """Those behind it that are."""
        self._error: BrokenPipeError | UserError | None = None

    @property
    def shows_time(self) -> bool:
        """Lines of running items, and answers of agents, are looked for when time has passed."""
        return self._printing.by_line or self._printing.is_agent

    def hear(self, happening: Happening) -> None:
        """Print what its end, or the end of another, gives the turn."""
        with self._lock:
            match happening:
                case RunBegan():
                    self.follow(happening.run_id)
                case ItemStarted() if self._printing.by_line:
                    self._running.begin(self._known(happening))
                case ItemRetrying() if self._printing.by_line:
                    self._try(self._print_attempt, self._known(happening), happening.attempt)
                case ItemEnded():
                    index = self._known(happening)
                    self._ends[index] = happening.attempts
                    self._try(self._print_from, self._first if self._is_in_order else index)
                # Before a view says how the run ended: all is recorded.
                case RunFinished():
                    self._print_answers()

    def follow(self, run_id: str) -> None:
        """Say which run it is: beside a live view it hears of none, and prints all of it at the end."""
        self._run_dir = RunDir.of(self._home, run_id)

    def refresh(self, now: float) -> None:  # noqa: ARG002 - what is new is seen by looking
        """Print the lines that running items have written since, and answers that were not recorded yet."""
        with self._lock:
            for index in self._running.items:
                self._try(self._put_new_lines, index)
            self._print_answers()

    def close(self) -> None:
        """Stdout is not its own."""

    def finish(self) -> None:
        """Print all that is left, in item order. Raises BrokenPipeError, OutputError, UserError (the folder of --results)."""
        with self._lock:
            if self._run_dir is not None and self._error is None:
                history = self._followed().reader.history.jobs["each"]
                for index in range(self._first, history.count or 0):
                    if index not in self._printed:
                        self._ends.pop(index, None)
                        self._try(self._print_attempt, index, history.attempts(index))
            if self._error is not None:
                raise self._error

    @property
    def _is_in_order(self) -> bool:
        return self._printing.in_order and not self._printing.by_line

    def _known(self, happening: ItemStarted | ItemRetrying | ItemEnded) -> int:
        """The index of the item; what it is called is remembered as long as that is needed."""
        index = int(happening.item.rpartition(":")[2])
        if self._printing.is_tagged and happening.label is not None:
            self._labels[index] = happening.label
        return index

    def _try(self, print_: Callable[..., None], *arguments: Any) -> None:
        """Print. What stdout does not take is told by `finish`: the run goes on without a reader."""
        if self._error is None:
            try:
                print_(*arguments)
                flush()
            except (BrokenPipeError, UserError) as error:
                self._error = error

    def _print_answers(self) -> None:
        """Print the answers of agents whose turn has come, and that are recorded by now."""
        for index in [*self._ends] if self._printing.is_agent else ():
            if index == self._first or not self._is_in_order:
                self._try(self._print_from, index)

    def _print_from(self, index: int) -> None:
        """Print that item, if it has ended, and those right behind it."""
        while (attempts := self._ends.get(index)) is not None and (
            not self._printing.is_agent or self._is_recorded(index, attempts)
        ):
            self._print_attempt(index, attempts)
            del self._ends[index]
            self._labels.pop(index, None)
            self._printed.add(index)
            while self._first in self._printed:
                self._printed.remove(self._first)
                self._first += 1
            index += 1

    def _is_recorded(self, index: int, attempts: int) -> bool:
        """Whether the answer can be read: an end is heard of before its group is written."""
        past = self._followed().reader.history.jobs["each"]
        return past.attempts(index) == attempts and past.status(index) is not Status.RUNNING

    def _print_attempt(self, index: int, attempt: int) -> None:
        """Print what an attempt that has ended has written, but for the lines that were printed already."""
        given = self._running.end(index)
        stream = self._answer(index) if self._printing.is_agent else self._written(index, attempt, "stdout")
        if stream is not None:
            with stream:
                stream.seek(given)
                while block := stream.read(_BLOCK_BYTES):
                    self._put(index, block)
                if index in self._within:
                    self._put(index, b"\n")
                if self._printing.folder is not None:
                    self._keep(stream, index, "stdout")
        errors = self._written(index, attempt, "stderr") if self._printing.folder is not None else None
        if errors is not None:
            with errors:
                self._keep(errors, index, "stderr")

    def _put_new_lines(self, index: int) -> None:
        if lines := self._running.new_lines(index):
            self._put(index, lines)

    def _put(self, index: int, data: bytes) -> None:
        # What an agent says is words for people; what a program prints is data.
        write = write_bytes if self._printing.is_agent else write_raw
        if not self._printing.is_tagged:
            write(data)
            return
        tag = bytes_of_text(self._label(index)) + b"\t"
        for line in data.split(b"\n")[:-1]:
            write((b"" if index in self._within else tag) + line + b"\n")
            self._within.discard(index)
        if rest := data.rpartition(b"\n")[2]:
            write((b"" if index in self._within else tag) + rest)
            self._within.add(index)

    def _keep(self, stream: BinaryIO, index: int, name: str) -> None:
        """Write a stream to the folder of --results, as that of the item. Raises UserError."""
        path = f"{self._printing.folder}/{index + 1}/{name}"
        stream.seek(0)
        _make_folder(os.path.dirname(path))
        with replaced(path) as file:
            shutil.copyfileobj(stream, file)

    def _answer(self, index: int) -> BinaryIO | None:
        answer = self._followed().reader.output("each", index)
        return None if answer is None else io.BytesIO(bytes_of_text(f"{answer}\n"))

    def _written(self, index: int, attempt: int, name: str) -> BinaryIO | None:
        """What the attempt has written; None: nothing, or there was no attempt."""
        if not attempt or self._run_dir is None:
            return None
        stdout, stderr = self._run_dir.output_paths("each", index, attempt)
        return opened(Path(stdout if name == "stdout" else stderr))

    def _label(self, index: int) -> str:
        if index not in self._labels:
            from orchestrator.reading.item_names import label_of

            self._labels[index] = label_of(self._followed().reader, "each", index) or f"each:{index}"
        return self._labels[index]

    def _followed(self) -> RunFollower:
        """The run as it is recorded now."""
        if self._follower is None:
            from orchestrator.reading.follower import RunFollower

            assert self._run_dir is not None
            self._follower = RunFollower(self._run_dir)
        else:
            self._follower.take_in_appended()
        return self._follower


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"--results {path}: cannot be made: {error.strerror}", "name another folder") from error
