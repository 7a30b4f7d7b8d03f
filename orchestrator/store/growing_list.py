"""The file of a list that grows: lines are appended to it, and a last line makes it a list as any other (`item_list`).

Promise: what `append` and `end` tell survives power loss when they return. What a killed writer leaves behind that counts for
nothing; whoever holds the run next cuts it off (`settle`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from zlib import crc32

from orchestrator.errors import StateUnwritableError
from orchestrator.store.durable_file import unwritable, write_all
from orchestrator.store.item_list import ItemList, ListLostError, last_line
from orchestrator.store.list_records import ListGrew
from orchestrator.store.records import ItemsListed
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.byte_text import append_json
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.files.syncing import sync_data, sync_folder


class GrowingListFile:
    """The file of a job's list, which is made anew. One thread writes to it. Raises StateUnwritableError."""

    def __init__(self, path: Path, job_id: str) -> None:
        self.told = ListGrew(job=job_id, count=0, size=0, crc=0)
        """What stands there durably."""
        self._path = path
        self._lines = bytearray()
        self.count = 0
        """Items that stand there or were added."""
        self._failure: StateUnwritableError | None = None
        """After a failed write nothing is written any more: nobody knows what stands there."""
        try:
            self._fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            # The name has to survive, too.
            sync_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error

    @property
    def pending(self) -> int:
        """So many items were added, and are not written yet."""
        return self.count - self.told.count

    def add(self, value: Any) -> None:
        """Have the value written with the next `append`."""
        append_json(value, self._lines)
        self._lines += b"\n"
        self.count += 1

    def append(self) -> ListGrew:
        """Write what was added, durably. Raises StateUnwritableError."""
        lines, self._lines = self._lines, bytearray()
        self._write(lines)
        told = self.told
        self.told = ListGrew(job=told.job, count=self.count, size=told.size + len(lines), crc=crc32(lines, told.crc))
        return self.told

    def end(self) -> None:
        """All items are there. Raises StateUnwritableError."""
        self._write(last_line(self.told.count, self.told.crc))

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)

    def _write(self, lines: bytes | bytearray) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            write_all(self._fd, lines)
            fault_point("growing_list.written")
            sync_data(self._fd)
            fault_point("growing_list.synced")
        except OSError as error:
            self._failure = unwritable(self._path, error)
            raise self._failure from error


def settle(run_dir: RunDir, told: ListGrew, revision: int) -> ItemsListed | None:
    """What became of a list that grew under a supervisor that is gone; None: nothing more than is recorded.

    It may have come to its end before that was recorded. Else what stands behind the recorded items is cut off.
    Raises StateUnwritableError.
    """
    path = run_dir.items(told.job, revision)
    try:
        return ItemsListed(job=told.job, count=len(ItemList(path)), revision=revision)
    except ListLostError:
        pass
    try:
        fd = open_file(path, os.O_WRONLY)
    except OSError:  # it is lost: what needs a value of it says so
        return None
    try:
        if os.fstat(fd).st_size > told.size:
            os.ftruncate(fd, told.size)
            sync_data(fd)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        os.close(fd)
    return None


def growth_in(path: Path, job_id: str) -> ListGrew | None:
    """What stands in the file in whole lines, where the records of its growth are lost; None: it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    whole = data[: data.rfind(b"\n") + 1]
    return ListGrew(job=job_id, count=whole.count(b"\n"), size=len(whole), crc=crc32(whole))
