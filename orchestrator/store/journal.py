"""The journal: groups of records, each written by one call and closed by a commit line.

Promise: once `Journal.append` returns, the group is in the page cache, so it survives SIGKILL; it survives power loss once
somebody has synced the descriptor. A reader gets whole groups or nothing of them, in order, and never a record that was not
written.

The writer holds the lock of the file from its first byte on, so two processes never write one journal.

Invariant: the bytes up to `valid_bytes` are groups whose commit lines name this generation, the offset where the group
begins, the CRC-32 of its bytes, its number, and the CRC-32 of the commit line before it. After any failed or short write this
process never appends again: what the kernel kept of that write is unknown, and the next lock holder sets it aside.

It refuses to mend: where something is missing or other than it was written (`whole_groups`), the file is left untouched.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import msgspec

from orchestrator.errors import RunHeldError, StateUnwritableError
from orchestrator.store.durable_file import unwritable
from orchestrator.store.formats import FORMAT, TODAY, Format, check_same
from orchestrator.store.lines import JournalHeader, Line, decode_line
from orchestrator.store.records import Commit, Record
from orchestrator.store.refusals import refused
from orchestrator.store.source_file import BLOCK_BYTES, SourceFile
from orchestrator.workers.byte_text import append_json
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.files.syncing import sync_data, sync_folder
from orchestrator.workers.locks import lock_descriptor, unlock_descriptor


class Chain(msgspec.Struct, frozen=True):
    """What the next group of a journal follows: how many groups there are, and the CRC-32 of the last commit line."""

    groups: int = 0
    last: int = 0


_BEGINNING = Chain()


class Journal:
    """One journal file, open for appending. `size` is its length in bytes, `fd` what the syncer syncs."""

    def __init__(self, path: Path, generation: int, size: int, fd: int, chain: Chain = _BEGINNING) -> None:
        """Use `create` or `open`."""
        self._chain = chain
        self.path = path
        self.generation = generation
        self.size = size
        self.fd = fd
        self._failure: StateUnwritableError | None = None

    @classmethod
    def create(cls, path: Path, generation: int, run_id: str) -> Journal:
        """Make the file with its header as first group; survives power loss. Raises StateUnwritableError.

        A file that stands there is from a checkpoint that was never finished: it is emptied.
        """
        fd = _open_locked(path, os.O_CREAT)
        journal = cls(path, generation, 0, fd)
        # The header, then its bytes, then its name: a checkpoint that names this journal must find it after any power loss.
        try:
            if os.fstat(fd).st_size:
                os.ftruncate(fd, 0)
            journal.append([JournalHeader(format=FORMAT, generation=generation, run=run_id)])
            sync_data(fd)
            sync_folder(path.parent)
            fault_point("journal.created")
        except OSError as error:
            journal.close()
            raise unwritable(path, error) from error
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, path: Path, generation: int, size: int, chain: Chain) -> Journal:
        """Go on after byte `size`, where the file ends, behind `chain`. Writes nothing.

        Raises StateUnwritableError, RunHeldError.
        """
        return cls(path, generation, size, _open_locked(path), chain)

    def append(self, records: Sequence[Record | JournalHeader]) -> list[tuple[int, int]]:
        """Write one group; (offset, length) of each record's line. Survives SIGKILL; power loss once the file is synced.

        Raises StateUnwritableError.
        """
        if self._failure is not None:
            raise self._failure
        # All lines and their commit in one buffer: one write, so that SIGKILL leaves all of the group or a torn tail.
        group = bytearray()
        places = []
        for record in records:
            start = len(group)
            append_json(record, group)
            places.append((self.size + start, len(group) - start))
            group += b"\n"
        length, number = len(group), self._chain.groups + 1
        commit = Commit(
            generation=self.generation,
            offset=self.size,
            crc=zlib.crc32(group),
            number=number,
            length=length,
            before=self._chain.last,
        )
        append_json(commit, group)
        chain = Chain(number, zlib.crc32(memoryview(group)[length:]))
        group += b"\n"
        try:
            fault_point("journal.write")
            written = os.write(self.fd, group)
            fault_point("journal.written")
        except OSError as error:
            self._failure = unwritable(self.path, error)
            raise self._failure from error
        # A short write is not completed: what the kernel kept of it is a torn tail, which the next lock holder sets aside.
        if written != len(group):
            self._failure = StateUnwritableError(
                f"{self.path}: cannot write state: a write was cut short, as on a full disk",
                "free some space there, then resume the run",
            )
            raise self._failure
        self.size += written
        self._chain = chain
        return places

    def close(self) -> None:
        """Close the file. Nothing is synced."""
        if self._failure is None:
            self._failure = StateUnwritableError(f"{self.path}: this journal is closed")
        fd, self.fd = self.fd, -1
        if fd >= 0:
            # Closing alone would not do: a process that is being started has a copy until the kernel is done with its exec.
            with contextlib.suppress(OSError):
                unlock_descriptor(fd)
            # What was written is in the page cache; an error of close tells nothing that fdatasync has not told.
            with contextlib.suppress(OSError):
                os.close(fd)


class JournalRead:
    """One reading of a journal as it stands now: iterate it once for (line, offset, length) of all committed records.

    Afterwards `valid_bytes` is where the last valid group ends, and `torn` tells whether bytes follow that are no group. After
    `extend` it can be iterated once more, for what was appended since.
    Iterating raises StateRefusedError: damaged, of a newer format, of another run or generation.
    """

    def __init__(self, source: SourceFile, generation: int, run_id: str, format_: Format = TODAY) -> None:
        self.valid_bytes = 0
        self.source = source
        self._generation = generation
        self._run_id = run_id
        self._format = format_
        self._last_commit = b""
        self._groups = 0
        # A writer may be at work: what comes later belongs to a later reading.
        self._seen = source.moment()
        self._end = self._seen[0]

    @property
    def torn(self) -> bool:
        """Whether bytes follow the last valid group."""
        return self.valid_bytes < self._end

    @property
    def chain(self) -> Chain:
        """What the next group follows, once all was read."""
        return Chain(self._groups, zlib.crc32(self._last_commit))

    def tail(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of what follows the last valid group, as of `written_parts`. No group stands in two parts."""
        return self.source.written(self.valid_bytes, self._end)

    def extend(self) -> None:
        """Let the next iteration give what was appended since."""
        self._seen = self.source.moment()
        self._end = self._seen[0]

    def has_changed(self) -> bool:
        """Whether the file was written to since it was read. Costs an `fstat`; a tail that stays torn is no change."""
        return self.source.moment() != self._seen

    def still_holds(self) -> bool:
        """Whether the last commit line that was read stands where it stood: nobody shortened the file, or wrote it anew.

        Raises StateRefusedError.
        """
        length = len(self._last_commit)
        return self.source.read(self.valid_bytes - 1 - length, length) == self._last_commit

    def __iter__(self) -> Iterator[tuple[Line, int, int]]:
        for base, data in self._blocks():
            lines = data.split(b"\n")
            # What follows the last line end is not a line (yet).
            lines.pop()
            decoded = self._format.decode_lines(lines)
            offsets = list(accumulate(map(len, lines), _after_line_end, initial=base))
            first = 0
            for position, line in enumerate(decoded):
                if type(line) is not Commit:
                    continue
                # Nothing of a group is given before its commit is known to be good.
                if not self._is_valid(line, data[self.valid_bytes - base : offsets[position] - base]):
                    self._refuse_damage()
                    return
                if self.valid_bytes == 0:
                    self._check_header(decoded[0])
                    first = 1
                for number in range(first, position):
                    record = decoded[number]
                    if record is None:
                        raise refused(self.source.path, "has records of an unknown kind: newer?")
                    yield record, offsets[number], len(lines[number])
                self._last_commit = lines[position]
                self._groups += 1
                self.valid_bytes = offsets[position + 1]
                first = position + 1
        if self.valid_bytes == 0 or self.torn:
            self._refuse_damage()

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) from where the last valid group ended; more at a time when no group ended in those before."""
        want = BLOCK_BYTES
        while self.valid_bytes < self._end:
            base = self.valid_bytes
            data = self.source.read(base, min(want, self._end - base))
            # No record has a zero byte: there a hole begins, of gigabytes perhaps, and no group ends behind it.
            hole = data.find(b"\0")
            yield base, data if hole < 0 else data[:hole]
            if hole >= 0 or base + len(data) >= self._end:
                return
            want = want * 2 if self.valid_bytes == base else BLOCK_BYTES

    def _is_valid(self, commit: Commit, group: bytes) -> bool:
        if (commit.generation, commit.offset, commit.crc) != (self._generation, self.valid_bytes, zlib.crc32(group)):
            return False
        # A version that did not count has written it, perhaps behind some that were counted.
        if not commit.number:
            return True
        chain = self.chain
        return (commit.number, commit.length, commit.before) == (chain.groups + 1, len(group), chain.last)

    def _check_header(self, header: Line | None) -> None:
        path = self.source.path
        if type(header) is not JournalHeader:
            raise refused(path, "damaged: it has no header")
        check_same(path, header.format, self._format)
        if (header.generation, header.run) != (self._generation, self._run_id):
            raise refused(path, f"belongs to run {header.run}, generation {header.generation}")

    def _refuse_damage(self) -> None:
        """Raise if what follows the last valid group is no torn tail: a valid commit stands in it, or nothing came before."""
        if self.valid_bytes == 0:
            self._check_header(decode_line(self.source.read(0, BLOCK_BYTES).partition(b"\n")[0]))
            raise refused(self.source.path, "damaged: it has no header")
        from orchestrator.store.whole_groups import COMMIT_START, is_damaged

        # A commit line behind a hole of zeros is none to a decoder of lines: all that stands there is looked at.
        if any(COMMIT_START in part and is_damaged(part, at, self._generation, self._groups) for at, part in self.tail()):
            raise refused(self.source.path, f"damaged at byte {self.valid_bytes}")


def _open_locked(path: Path, flags: int = 0) -> int:
    """Open a journal to write it, and lock it: it has one writer, whatever becomes of supervisor.lock."""
    try:
        fd = open_file(path, os.O_WRONLY | os.O_APPEND | flags)
        try:
            is_mine = lock_descriptor(fd)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        raise unwritable(path, error) from error
    if not is_mine:
        os.close(fd)
        run_id = path.parent.name
        raise RunHeldError(f"{path}: a living supervisor of run {run_id} writes it", f"see it: orchestrate status {run_id}")
    return fd


def _after_line_end(offset: int, length: int) -> int:
    return offset + length + 1
