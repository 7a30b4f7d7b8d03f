"""What a supervisor holds of its run's records: append, make durable, take checkpoints, ask the history.

The caller holds the supervisor lock for as long as a `RunStore` is open: it is the only writer. After any error of a write or
a sync nothing is written any more; every call that would raises StateUnwritableError again.

Promises: `append` survives SIGKILL when it returns; a group through `durable_through()` survives power loss.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from zlib import crc32

import msgspec

from orchestrator.errors import StateRefusedError, StateUnwritableError
from orchestrator.store.checkpoint_writer import CheckpointWriter
from orchestrator.store.durable_file import temporary_path, unwritable, write_durably, write_for_next_sync
from orchestrator.store.journal import Journal, JournalRead
from orchestrator.store.load import LoadedRun, load_run
from orchestrator.store.places import JOURNAL, Sources
from orchestrator.store.records import Record, RunHeader
from orchestrator.store.refusals import cannot_load
from orchestrator.store.run_dir import RunDir, check_unborn
from orchestrator.store.run_history import RunHistory
from orchestrator.store.source_file import SourceFile
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.store.syncer import Syncer
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.files.syncing import sync_data, sync_folder

SMALLEST_JOURNAL_BYTES = 16 << 20
"""No checkpoint before the journal has this size: tens of thousands of items, loaded in a tenth of a second."""

JOURNAL_GROWTH = 8
"""A checkpoint is due when the journal is this many times the size of the last checkpoint. So the sizes of a run's
checkpoints are a geometric series, and the bytes written per item do not grow with the number of items."""


class RunStore:
    """The records of one run, open for writing. Use `create` or `open`."""

    def __init__(
        self, run_dir: RunDir, loaded: LoadedRun, journal: Journal, lock: SupervisorLock | None = None, cut_tail: str = ""
    ) -> None:
        self.run_dir = run_dir
        self._lock = lock
        self.history: RunHistory = loaded.history
        self._checkpoint_bytes = loaded.checkpoint_bytes
        self._journal = journal
        self._group = 0
        self._is_file_gone = False
        self.cut_tail = cut_tail
        """The name of the file with what was cut from the journal's end, if that holds the end of a group; else empty."""
        self._failure: StateUnwritableError | None = None
        self._syncer = Syncer(journal.fd, journal.path)

    @classmethod
    def create(cls, run_dir: RunDir, header: RunHeader, jobs_text: str, lock: SupervisorLock | None = None) -> RunStore:
        """Let the run exist: the checkpoint, written last, is its birth; survives power loss. `lock`: as of `open`.

        Raises UserError if it exists already, StateUnwritableError.
        """
        check_unborn(run_dir)
        # The checkpoint comes last, for it makes the directory a run: a kill before it leaves no run that lacks something.
        text = jobs_text.encode()
        # Its name becomes durable with the journal's, in the same folder.
        write_for_next_sync(run_dir.jobs_toml(0), text)
        header = msgspec.structs.replace(header, jobs_crc=crc32(text))
        Journal.create(run_dir.journal(1), 1, header.run_id).close()
        empty = SourceFile(run_dir.journal(1))
        write_durably(run_dir.checkpoint, CheckpointWriter(RunHistory(header, 1, Sources(empty, empty)), 1).chunks())
        return cls.open(run_dir, lock, is_new=True)

    @classmethod
    def open(cls, run_dir: RunDir, lock: SupervisorLock | None = None, *, is_new: bool = False) -> RunStore:
        """Go on with a run. A torn tail of its journal is set aside and cut. `lock`: this process's, looked after at each group.

        `is_new`: `create` has just written it all durably, so nobody has left anything.

        Raises StateRefusedError (damaged, newer: untouched), RunHeldError, StateUnwritableError, FileNotFoundError (no such run).
        """
        loaded, journal = _load_and_hold(run_dir)
        cut_tail = ""
        try:
            generation = loaded.history.generation
            # The tail is copied durably before it is cut: it may be what somebody needs to find out what happened.
            if loaded.journal.torn:
                cut_tail = _set_torn_tail_aside(run_dir, generation, loaded.journal)
            if not is_new:
                _remove_leavings(run_dir, generation)
            return cls(run_dir, loaded, journal, lock, cut_tail)
        except BaseException:
            journal.close()
            raise

    def append(self, records: Sequence[Record]) -> int:
        """Write one group and fold it in; its number, counted from 1 in this process. Survives SIGKILL.

        Raises StateUnwritableError; the history then does not have the group.
        """
        self._check_failure()
        try:
            self.keep_lock()
            places = self._journal.append(records)
        except StateUnwritableError as error:
            self._failure = error
            raise
        # Folded in only now: the history never has what the journal has not.
        for record, (offset, length) in zip(records, places, strict=True):
            self.history.apply(record, JOURNAL, offset, length)
        self._group += 1
        return self._group

    def look_after_files(self) -> None:
        """As `keep_lock`; and see whether somebody has removed the checkpoint or the journal, or replaced the journal."""
        self.keep_lock()
        self._is_file_gone = os.fstat(self._journal.fd).st_nlink == 0 or not os.path.lexists(self.run_dir.checkpoint)

    def keep_lock(self) -> None:
        """Put supervisor.lock back if somebody took it from under this process, which holds the journal. Costs one `stat`.

        Raises StateUnwritableError: the run's folder is gone, or another one stands there.
        """
        if self._lock is not None and self._lock.keep() and not self._is_journal_there():
            raise StateUnwritableError(
                f"{self.run_dir.path}: another folder was put in the place of this run's",
                "put the run's own back, then resume it: what is recorded stays",
            )

    def request_sync(self, *, is_awaited: bool = True) -> None:
        """Have everything appended so far made durable, soon. Does not wait. `is_awaited`: somebody wants to hear of it."""
        self._syncer.request_sync(self._group, is_awaited=is_awaited)

    def make_durable(self) -> None:
        """Make everything appended so far durable before this returns, at the cost of one sync. Raises StateUnwritableError."""
        self._check_failure()
        self._syncer.sync_now(self._group)

    def sync_fileno(self) -> int:
        """Readable when `durable_through` has news that are awaited, or raises."""
        return self._syncer.fileno()

    def durable_through(self) -> int:
        """The last group that survives power loss. Raises StateUnwritableError."""
        self._check_failure()
        return self._syncer.durable_through()

    @property
    def wants_checkpoint(self) -> bool:
        """Whether the journal has grown enough for `take_checkpoint` to pay; or one of the two is gone, and is to be saved."""
        return self._is_file_gone or self._journal.size >= max(SMALLEST_JOURNAL_BYTES, JOURNAL_GROWTH * self._checkpoint_bytes)

    def take_checkpoint(self) -> None:
        """Begin the next generation; everything appended so far survives power loss when it returns.

        Raises StateUnwritableError: whichever generation then stands on disk is whole.
        """
        self._check_failure()
        try:
            self._take_checkpoint()
        except StateUnwritableError as error:
            self._failure = error
            raise
        except OSError as error:
            self._failure = unwritable(self.run_dir.path, error)
            raise self._failure from error

    def end_session(self) -> None:
        """Make everything durable in a new generation; as it stands if the journal holds little beside a large checkpoint.

        So a session that runs one of a million items does not write all of them again. Raises as `take_checkpoint`.
        """
        self._check_failure()
        self.look_after_files()
        is_large = self._checkpoint_bytes >= SMALLEST_JOURNAL_BYTES
        if is_large and not self._is_file_gone and self._journal.size * JOURNAL_GROWTH < self._checkpoint_bytes:
            self.make_durable()
        else:
            self.take_checkpoint()

    def _take_checkpoint(self) -> None:
        # The new journal stands before the checkpoint that names it; until the rename the old generation is the run.
        generation = self.history.generation + 1
        path = self.run_dir.journal(generation)
        journal = Journal.create(path, generation, self.history.header.run_id)
        writer = CheckpointWriter(self.history, generation)
        try:
            write_durably(self.run_dir.checkpoint, writer.chunks())
        except BaseException:
            journal.close()
            raise
        # From here on the new generation is the run. The old journal stays open until nothing points into it or syncs it.
        writer.adopt(Sources(SourceFile(self.run_dir.checkpoint), SourceFile(path)))
        self._checkpoint_bytes = writer.size
        self._syncer.switch_file(journal.fd, path, self._group)
        old, self._journal = self._journal, journal
        self._is_file_gone = False
        old.close()
        fault_point("checkpoint.switched")
        # A kill before this leaves a journal that no checkpoint names: `_remove_leavings` removes it.
        old.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop writing. What was appended stays; it is as durable as `durable_through` said."""
        self._syncer.close()
        self._journal.close()
        if self._failure is None:
            self._failure = StateUnwritableError(f"{self.run_dir.path}: this store is closed")

    def _is_journal_there(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._journal.path), os.fstat(self._journal.fd))
        except OSError:
            return False

    def _check_failure(self) -> None:
        if self._failure is None:
            self._failure = self._syncer.failure
        if self._failure is not None:
            raise self._failure


def _load_and_hold(run_dir: RunDir) -> tuple[LoadedRun, Journal]:
    """Read the run, and hold its journal: nobody has written to it between the two."""
    while True:
        try:
            loaded = load_run(run_dir)
        except (FileNotFoundError, StateRefusedError) as error:
            if not run_dir.exists:
                raise
            raise cannot_load(error, run_dir.run_id) from error
        generation = loaded.history.generation
        journal = Journal.open(run_dir.journal(generation), generation, loaded.journal.valid_bytes, loaded.journal.chain)
        is_same = False
        try:
            # Its last writer may have written, or begun the next generation, before it let go.
            is_same = loaded.checkpoint.is_at_its_path() and loaded.journal.source.is_at_its_path()
            is_same = is_same and not loaded.journal.has_changed()
        finally:
            if not is_same:
                journal.close()
        if is_same:
            return loaded, journal


def _set_torn_tail_aside(run_dir: RunDir, generation: int, read: JournalRead) -> str:
    """Copy the tail to a file of its own, then cut the journal behind its last valid group. Both survive power loss.

    The name of that file if the tail holds the end of a group, else "": what a kill cuts off was never told to anybody.
    """
    from orchestrator.store.whole_groups import commits_in

    path = run_dir.journal(generation)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"journal-{generation}.torn-{stamp}"
    # Without its holes, which would fill the disk.
    write_durably(run_dir.path / name, (part for _, part in read.tail()))
    holds_end = any(True for _, part in read.tail() for _ in commits_in(part, generation))
    try:
        fd = open_file(path, os.O_WRONLY)
        try:
            os.ftruncate(fd, read.valid_bytes)
            sync_data(fd)
            fault_point("journal.cut")
        finally:
            os.close(fd)
    except OSError as error:
        raise unwritable(path, error) from error
    return name if holds_end else ""


def _remove_leavings(run_dir: RunDir, generation: int) -> None:
    """Remove what a killed writer left of a checkpoint: the temporary file, journals of other generations.

    Survives power loss.
    """
    try:
        temporary_path(run_dir.checkpoint).unlink(missing_ok=True)
        for path in run_dir.path.glob("journal-*.jsonl"):
            if path != run_dir.journal(generation):
                path.unlink()
        sync_folder(run_dir.path)
    except OSError as error:
        raise unwritable(run_dir.path, error) from error
