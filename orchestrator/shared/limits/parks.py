"""The parks of all accounts, on disk: HOME/limits/ACCOUNT.json, shared by all runs of this user on this machine.

Promise: a file is old or new, never a mixture, and survives SIGKILL. Power loss may take it; then the next attempt is told of
the limit anew. A writer holds ACCOUNT.lock for the moment (a killed writer frees it). A reader takes no lock, and reads the file
again only when its `stat` has changed. A damaged file, or one of another version, tells of no limit: one attempt too many is
better than work that never starts.
It refuses to handle: which attempt may try when a limit is over (`trials`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from orchestrator.shared.limits.park import (
    FORMAT,
    LEAST_SECONDS,
    Clock,
    Park,
    is_over_since,
    park_of,
    seconds_left,
    standing_park,
)
from orchestrator.store.durable_file import unwritable, write_whole
from orchestrator.store.formats import format_told
from orchestrator.store.home import limits_folder
from orchestrator.system.locks.lock_file import try_lock_in_state
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import StrangeFileError, read_file
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.processes.identity import boot_id
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import ResetSource

LEAST_VARIABLE = "ORCHESTRATE_LEAST_PARK_SECONDS"
"""For tests: in place of `LEAST_SECONDS`."""

_WRITER_SECONDS = 2.0
"""A writer holds the lock for microseconds. One that was stopped in the middle must not stop all the others."""
_WRITER_POLL_SECONDS = 0.005

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock_now() -> Clock:
    """All clocks at this instant."""
    return Clock(time.time(), time.clock_gettime(_BOOT_CLOCK), boot_id())


def park_words(park: Park) -> str:
    """One line for people: until when the account is parked, and who says so."""
    return f"the usage limit of {park.account} is reached {until_words(park)}"


def until_words(park: Park) -> str:
    """Until when the account is parked, and who says so: the end of `park_words`."""
    is_far = abs(park.until - time.time()) > 86400.0
    until = time.strftime("%Y-%m-%d %H:%M" if is_far else "%H:%M:%S", time.localtime(park.until))
    told = "" if park.source == "field" else ", by its words" if park.source == "text" else ", at a guess"
    return f"until {until}{told} (told by {park.told_by})"


class Parks:
    """The parks of one home. Methods raise StateUnwritableError, and OSError for a shortage; `note` gets words for people."""

    def __init__(self, home: Path, note: Callable[[str], None] = lambda _: None, clock: Callable[[], Clock] = clock_now) -> None:
        self._folder = limits_folder(home)
        self._note = note
        self._clock = clock
        self._least_seconds = float(os.environ.get(LEAST_VARIABLE, LEAST_SECONDS))
        self._seen: dict[str, tuple[object, Park | None]] = {}

    def find_park(self, account: str) -> Park | None:
        """What is known of the account's limit; None if nothing is."""
        stamp = self.stamp(account)
        seen = self._seen.get(account)
        if seen is None or seen[0] != stamp:
            seen = self._seen[account] = stamp, None if stamp is None else self._read(account)
        return seen[1]

    def seconds_left(self, park: Park) -> float:
        """How long the park still holds; 0 or less: the account may be tried."""
        return seconds_left(park, self._clock())

    def stamp(self, account: str) -> object:
        """Changes with what is known of the account; None if nothing is."""
        try:
            found = os.lstat(self._path(account))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unwritable(self._path(account), error) from error
        return found.st_mtime_ns, found.st_ino, found.st_size

    def all_parks(self) -> list[Park]:
        """Every park, in the order of accounts."""
        names = sorted(path.stem for path in self._folder.glob("*.json") if not path.name.startswith("."))
        return [park for name in names if (park := self.find_park(name)) is not None]

    def parks_in_force(self) -> list[Park]:
        """The parks whose reset is yet to come."""
        return [park for park in self.all_parks() if self.seconds_left(park) > 0]

    def tell_limit(
        self,
        account: str,
        resets_at: float | None,
        told_by: str,
        *,
        source: ResetSource | None = None,
        reached_at: float | None = None,
    ) -> Park:
        """Park the account, as `park_of` says. Returns the park that counts now."""
        with self._writing(account) as is_mine:
            clock = self._clock()
            least = self._least_seconds
            told = park_of(account, resets_at, told_by, clock, source=source, reached_at=reached_at, least_seconds=least)
            park = standing_park(self._read(account), told, clock)
            if not is_mine or self._is_newer(account):
                # Other runs cannot be told. This run keeps to the park all the same.
                self._seen[account] = self.stamp(account), park
            elif park is told:
                write_whole(self._path(account), msgspec.json.format(msgspec.json.encode(park), indent=1))
                fault_point("limits.told")
            return park

    def clear_park(self, account: str, started_at: float) -> bool:
        """An attempt that began at `started_at` (epoch seconds) has succeeded; whether that ended a park."""
        # Without the lock first: mostly there is no park, and a success must cost no lock.
        if not self._is_over(self.find_park(account), started_at):
            return False
        with self._writing(account) as is_mine:
            is_over = is_mine and self._is_over(self._read(account), started_at)
            if is_over:
                self._remove(account)
            return is_over

    def drop_park(self, park: Park) -> None:
        """The park was found to be over. One that was told since stays."""
        with self._writing(park.account) as is_mine:
            if is_mine and self._read(park.account) == park:
                self._remove(park.account)

    def wall_now(self) -> float:
        """Seconds since the epoch."""
        return self._clock().wall

    def forget_limit(self, account: str) -> bool:
        """A person says that there is no limit; whether one was known."""
        with self._writing(account) as is_mine:
            return is_mine and self._remove(account)

    def _is_over(self, park: Park | None, started_at: float) -> bool:
        return park is not None and is_over_since(park, started_at, self.wall_now())

    @contextmanager
    def _writing(self, account: str) -> Iterator[bool]:
        """Hold the account's lock for a moment; yields whether it could be had."""
        path = self._folder / f"{account}.lock"
        give_up_at = time.monotonic() + _WRITER_SECONDS
        while (fd := try_lock_in_state(path)) is None and time.monotonic() < give_up_at:
            time.sleep(_WRITER_POLL_SECONDS)
        if fd is None:
            self._note(f"{path} is held by a process that does not go on: other runs are not told of the usage limit")
            yield False
            return
        try:
            yield True
        finally:
            os.close(fd)

    def _remove(self, account: str) -> bool:
        path = self._path(account)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unwritable(path, error) from error
        return True

    def _read(self, account: str) -> Park | None:
        """What the file tells; None if it is missing, damaged, of another account, or of a format that is not known yet."""
        data = self._bytes_of(account)
        try:
            match format_told(data):
                case 1:
                    park = decode_struct(_DECODER.decode, data)
                case _:
                    return None
        except ForeignBytesError:
            return None
        return park if park.account == account else None

    def _is_newer(self, account: str) -> bool:
        """Whether a later version wrote the file: it is left as it is."""
        with suppress(ForeignBytesError):
            if (format_told(self._bytes_of(account)) or 0) > FORMAT:
                self._note(f"{self._path(account)} is of a newer format: other runs are not told of the usage limit")
                return True
        return False

    def _bytes_of(self, account: str) -> bytes:
        try:
            return read_file(self._path(account))
        except (FileNotFoundError, StrangeFileError):
            return b""
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            raise unwritable(self._path(account), error) from error

    def _path(self, account: str) -> Path:
        return self._folder / f"{account}.json"


_DECODER = msgspec.json.Decoder(Park)
