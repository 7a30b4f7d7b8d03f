"""The list of a job that grows while its items run: lines of stdin that still come.

A thread reads. What has come meanwhile it appends to the list's file, durably and in groups, and only then the loop hears of it.
Promise: an item starts after its line stands durably and that is recorded. What was read and is not recorded is as if it had
never been read. The thread stops reading while `MOST_UNENDED` items have not ended, so an endless producer costs no memory but
the few bytes of each item that has ended.

As soon as nothing more of the job would start, the producer is let go of (it gets SIGPIPE). What it had still to say nobody knows
then: the list stays as it is, and a later session ends its job as failed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from typing import Any

import msgspec

from orchestrator.core.events import ItemsAdded, ItemsListed, ListEnded
from orchestrator.errors import StateUnwritableError, UserError
from orchestrator.store import records
from orchestrator.store.growing_list import GrowingListFile
from orchestrator.store.list_records import ListGrew
from orchestrator.supervisor.inbox import Source
from orchestrator.supervisor.run import Run
from orchestrator.system.coming_input import ComingInput
from orchestrator.system.threads import begin_thread
from orchestrator.workers.faultpoints import fault_point

MOST_IN_GROUP = 1024
"""Items that become durable together at most."""

MOST_UNENDED = 4096
"""Items that were read and have not ended, in a run of few slots: more are not read. It goes on when half of them are left."""


class Incoming(msgspec.Struct, frozen=True):
    """The values of a list that still comes. They are made of what `stream` gives, when they are asked for."""

    values: Iterable[Any]
    stream: ComingInput


class _Read(msgspec.Struct, frozen=True):
    """What stands durably. `is_whole`: all of it. `error`: why the others cannot be read, in words."""

    grown: ListGrew
    is_whole: bool = False
    error: str = ""


class ListGrowth(Source):
    """Of the one job of a run. As a source it has no news for the loop: what was read it tells the core itself."""

    def __init__(self, run: Run, incoming: Incoming) -> None:
        self._run = run
        self._incoming = incoming
        self._stream = incoming.stream
        self._stream.before_wait = self._hand_over
        self._order = 0
        self._file: GrowingListFile | None = None
        self._known = 0
        """So many items the core has heard of."""
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._changed = threading.Condition()
        # What the reading thread and the loop tell each other, under `_changed`.
        self._ended = 0
        self._most_unended = MOST_UNENDED
        self._told: _Read | None = None
        self._failure: BaseException | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)

    def list_items(self, order: int) -> None:
        """Begin the list, with no items. Raises StateUnwritableError."""
        run, job_id = self._run, self._run.jobs[order].id
        self._order = order
        self._file = GrowingListFile(run.dir.items(job_id, 0), job_id)
        run.recorder.add(self._file.told)
        run.tell.grew(job_id, 0, is_growing=True)
        run.happened(ItemsListed(order, 0, is_growing=True))
        self._thread = begin_thread(self._read, "reader of items")

    def filenos(self) -> list[int]:
        return [self._reader]

    def read_news(self, _fileno: int) -> tuple[()]:
        """Record what was read. Raises what the thread could not go on for."""
        with self._changed:
            read, self._told = self._told, None
            os.read(self._reader, 1)
        if self._failure is not None:
            raise self._failure
        if read is not None and not self._is_over:
            self._take_in(read)
        return ()

    def look_for_news(self, _now: float) -> tuple[()]:
        """Nothing tells the thread that items have ended, nor that nothing more is to be read."""
        if self._file is not None and not self._is_over:
            if self._run.core.is_over(self._order):
                self._let_go()
            elif self._thread is None:
                # The machine had no room for it.
                self._thread = begin_thread(self._read, "reader of items")
            else:
                with self._changed:
                    self._ended = self._run.core.ended_count(self._order)
                    self._most_unended = max(MOST_UNENDED, 4 * self._run.core.main_slots)
                    self._changed.notify_all()
        return ()

    def close(self) -> None:
        """Read no more. What is recorded stays."""
        if not self._is_over:
            self._let_go()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            self._file.close()
        self._stream.release()
        os.close(self._reader)
        os.close(self._writer)

    def _take_in(self, read: _Read) -> None:
        """Record what stands durably, and have the core hear of it."""
        run, job_id = self._run, self._run.jobs[self._order].id
        if run.core.is_over(self._order):
            self._let_go()
            return
        if read.grown.count > self._known:
            run.recorder.add(read.grown)
            run.happened(ItemsAdded(self._order, read.grown.count - self._known))
            self._known = read.grown.count
        if read.is_whole:
            run.recorder.add(records.ItemsListed(job=job_id, count=self._known))
        if read.is_whole or read.error:
            self._is_over = True
            run.happened(ListEnded(self._order, is_whole=read.is_whole))
        if read.error:
            self._let_go()
            run.tell.note(f"{job_id}: {read.error}", is_warning=True)
        elif read.is_whole and not self._known:
            run.tell.note(f"{job_id} has no items: its list is empty")
        run.tell.grew(job_id, self._known, is_growing=not self._is_over)

    def _let_go(self) -> None:
        self._is_over = True
        self._stream.let_go()
        with self._changed:
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._stream.end_writer()

    def _read(self) -> None:
        """The thread."""
        assert self._file is not None
        error = ""
        try:
            try:
                for value in self._incoming.values:
                    if self._stream.is_let_go:
                        return
                    self._file.add(value)
                    if self._file.pending >= MOST_IN_GROUP:
                        self._hand_over()
                    self._wait_for_room()
            except StateUnwritableError:
                # After a failed write nothing is written any more.
                raise
            except UserError as mistake:
                error = f"{mistake.message}: {mistake.hint}" if mistake.hint else mistake.message
            if not self._stream.is_let_go:
                self._hand_over()
                if not error:
                    self._file.end()
                    fault_point("growth.ended")
                self._tell(_Read(self._file.told, is_whole=not error, error=error))
        except BaseException as failure:
            self._failure = failure
            self._tell(None)

    def _hand_over(self) -> None:
        """Make durable what was read since the last time, and tell the loop. In the thread that reads."""
        if self._file is not None and self._file.pending and not self._stream.is_let_go:
            self._tell(_Read(self._file.append()))

    def _wait_for_room(self) -> None:
        assert self._file is not None
        if self._unended() < self._most_unended:
            return
        self._hand_over()
        with self._changed:
            self._changed.wait_for(lambda: self._stream.is_let_go or self._unended() < self._most_unended // 2)

    def _unended(self) -> int:
        assert self._file is not None
        return self._file.count - self._ended

    def _tell(self, told: _Read | None) -> None:
        with self._changed:
            # What was told and is not taken in yet is part of what is told now.
            is_told = self._told is not None
            self._told = told
            if not is_told:
                os.write(self._writer, b"!")
