"""The board on disk where runs tell what they wait for, so that a deadlock between them is found: HOME/waits/RUN.json.

The board has only waits that may be part of a cycle: those of runs that are nested in an item, and those of items that keep a
token for which another run on the board waits. A file is only a cache: it is in the page cache, replaced by rename, and removed
when nothing waits. A file whose supervisor is gone counts for nothing. A wait is posted once it was observed without a change
for `SETTLE_SECONDS`. `seen` is the time of the second-last observation, because the note in a lock file may still name the
previous holder for an instant.

Promise: a cycle is found and one of its waits is given up within 5 s, by the run whose wait it is. That run holds HOME/waits/lock
and has taken the wait off the board by then, so no other run gives up a second wait for the same cycle. Nothing blocks.
It refuses to handle: what a deadlock is (`core.deadlocks`), what an item waits for (the supervisor knows), failing the item.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from orchestrator.core.deadlocks import Posting, Wait, find_deadlocks, still_waiting, waits_that_matter
from orchestrator.store.durable_file import temporary_path, unwritable
from orchestrator.store.home import waits_folder
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import StrangeFileError, open_file, read_file
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.processes.identity import boot_id, is_same_process, start_ticks
from orchestrator.workers.processes.spawn import SHORTAGES

OBSERVE_SECONDS = 0.25
"""From one look at the run's waits to the next."""
SETTLE_SECONDS = 0.5
"""A wait that has held so long is posted: shorter ones pass by themselves."""
REFRESH_SECONDS = 1.0
"""How often a posting that has not changed is written again, and the others' are read."""
STALE_SECONDS = 5.0
"""A posting that was not refreshed for so long is ignored: its supervisor is stopped, and no item is to fail for that."""

_FORMAT = 1


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """The content of HOME/waits/RUN.json. `pid`, `start_ticks`, `boot_id`: the supervisor. `seen`: by the clock of that boot."""

    format: int
    pid: int
    start_ticks: int
    boot_id: str
    seen: float
    mark: str
    ancestors: tuple[str, ...]
    waits: tuple[Wait, ...]


class Victim(msgspec.Struct, frozen=True):
    """A wait of this run that has to be given up: fail `wait.item` (of a token: all that wait for it) with `words`."""

    wait: Wait
    words: str


class WaitBoard:
    """The board for one run. `mark`: of the run (its attempts' marks begin with it); `ancestors`: of the attempts that it is in.

    The loop calls `look_at_board` when `next_look` has come, as long as the run goes on; it costs nothing while nothing waits.
    Times are `time.monotonic()`, which all processes of a boot share.
    """

    def __init__(self, run_dir: RunDir, mark: str, ancestors: Sequence[str]) -> None:
        self.next_look = 0.0
        self._run_dir = run_dir
        self._folder = waits_folder(run_dir.home)
        self._path = self._folder / f"{run_dir.run_id}.json"
        self._mark = mark
        self._ancestors = tuple(ancestors)
        pid = os.getpid()
        self._session = (pid, start_ticks(pid) or 0, boot_id())
        self._observed: list[Wait] = []
        self._observed_at = 0.0
        self._posted: list[Wait] = []
        self._refresh_at = 0.0

    def look_at_board(self, waits: Iterable[Wait], now: float) -> list[Victim]:
        """Take in what the run waits for at this instant; return which of these waits it has to give up (mostly none).

        `waits`: of items that still may start, each for a resource that was tried just now and is held. `since` is ignored.
        Raises StateUnwritableError.
        """
        self.next_look = now + OBSERVE_SECONDS
        try:
            settled, seen = self._observe(waits, now)
            # Nothing changed, and the posting is fresh: neither write nor read.
            if settled == self._posted and not (settled and now >= self._refresh_at):
                return []
            self._post(settled, seen, now)
            return self._give_up(settled, seen, now) if settled else []
        except OSError as error:
            if error.errno in SHORTAGES:
                return []  # the next look does it
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Take everything off the board: the run has nothing to wait for any more."""
        if self._posted:
            # A file that stays does no harm: readers see that its session is gone. An error here must not hide why the run ends.
            with contextlib.suppress(OSError):
                fault_point("waits.closing")
                self._path.unlink(missing_ok=True)
            self._posted = []

    def _observe(self, waits: Iterable[Wait], now: float) -> tuple[list[Wait], float]:
        """The waits that have held long enough, and until when that is certain."""
        seen = self._observed_at
        self._observed = still_waiting(self._observed, self._that_matter(waits, now), now)
        self._observed_at = now
        return [wait for wait in self._observed if now - wait.since >= SETTLE_SECONDS], seen

    def _that_matter(self, waits: Iterable[Wait], now: float) -> list[Wait]:
        """The waits that may be part of a cycle."""
        known = list(waits)
        # An item that keeps a token matters only if somebody waits for that token; so the others' waits are needed.
        named: set[str] = set()
        if any(wait.reserves for wait in known):
            named = {holder for file in self._read_others(now) for wait in file.waits for holder in wait.holders}
            if self._ancestors:
                named.update(holder for wait in known for holder in wait.holders)
        return waits_that_matter(known, self._mark, is_nested=bool(self._ancestors), named=named)

    def _post(self, waits: list[Wait], seen: float, now: float) -> None:
        """Put the waits on the board in the place of those that are there. Raises OSError."""
        if not waits:
            self.close()
            return
        pid, ticks, boot = self._session
        content = _File(
            format=_FORMAT,
            pid=pid,
            start_ticks=ticks,
            boot_id=boot,
            seen=seen,
            mark=self._mark,
            ancestors=self._ancestors,
            waits=tuple(waits),
        )
        # By rename: readers take no lock, and must never see half a file.
        temporary = temporary_path(self._path)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(encode_json(content))
        temporary.rename(self._path)
        self._posted, self._refresh_at = waits, now + REFRESH_SECONDS

    def _give_up(self, settled: list[Wait], seen: float, now: float) -> list[Victim]:
        """The waits that this run has to give up; they are off the board when this returns."""
        mine = Posting(mark=self._mark, ancestors=self._ancestors, seen=seen, waits=tuple(settled))
        # Without the lock first: mostly there is no deadlock.
        if not self._victims(mine, now):
            return []
        lock = try_lock(self._folder / "lock")
        if lock is None:
            self._refresh_at = now  # the next look tries again
            return []
        try:
            # Under the lock once more: another run may have given up a wait of this cycle meanwhile.
            victims = self._victims(mine, now)
            if victims:
                given_up = [victim.wait for victim in victims]
                self._observed = [wait for wait in self._observed if wait not in given_up]
                self._post([wait for wait in settled if wait not in given_up], seen, now)
            return victims
        finally:
            os.close(lock)

    def _victims(self, mine: Posting, now: float) -> list[Victim]:
        """The waits of this run that have to be given up, by the postings of all living runs."""
        others = {file.mark: file for file in self._read_others(now)}
        while True:
            postings = [mine, *(_posting(file) for file in others.values())]
            found = find_deadlocks(postings)
            # Whether a supervisor lives costs a look at its lock, so only those in a deadlock are asked. Without the dead ones
            # among them the deadlock may be none: then once more.
            involved = set().union(*(deadlock.runs for deadlock in found)) & set(others)
            gone = {mark for mark in involved if not self._lives(others[mark])}
            if not gone:
                return [Victim(deadlock.victim, deadlock.words) for deadlock in found if deadlock.victim_run == mine.mark]
            for mark in gone:
                del others[mark]

    def _read_others(self, now: float) -> Iterator[_File]:
        try:
            names = os.listdir(self._folder)
        except (FileNotFoundError, NotADirectoryError):  # nobody has ever posted anything
            return
        for name in names:
            path = self._folder / name
            if path.suffix != ".json" or name.startswith(".") or path == self._path:
                continue
            try:
                file = decode_struct(_decode, read_file(path))
            except (FileNotFoundError, StrangeFileError, ForeignBytesError):
                continue  # removed meanwhile; or of another version, which finds its deadlocks by itself
            # A killed supervisor leaves its file: the next reader removes it.
            if not is_same_process(file.pid, file.start_ticks, file.boot_id):
                path.unlink(missing_ok=True)
            elif file.format == _FORMAT and file.seen >= now - STALE_SECONDS:
                yield file

    def _lives(self, file: _File) -> bool:
        run_id = file.mark.rpartition("/")[2].rpartition(".")[0]
        # A killed supervisor that its parent has not reaped is still a process, but it has lost its lock.
        return is_locked(self._run_dir.beside(run_id).supervisor_lock)


_decode: Callable[[bytes], _File] = json_decoder(_File)


def _posting(file: _File) -> Posting:
    return Posting(mark=file.mark, ancestors=file.ancestors, seen=file.seen, waits=file.waits)
