"""The record of a token: HOME/tokens/KEY.json beside its lock KEY.lock. KEY is a hash, so that any text can be a token.

Only the holder of the lock writes the record; everybody may read it, because it is replaced by rename. A record `held` survives
SIGKILL (it is written before the agent starts), a verdict survives power loss (`publisher`). The content of a lock file means
nothing.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.errors import StateRefusedError
from orchestrator.jobsfile.model import OutputKind
from orchestrator.store.durable_file import unwritable, write_all
from orchestrator.store.formats import format_told
from orchestrator.store.home import tokens_folder
from orchestrator.system.digests import sha256_hex
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.files.opening import StrangeFileError, open_file, read_file
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.processes.identity import boot_clock, boot_id
from orchestrator.workers.protocol import Outcome

FORMAT = 1
"""Of what this program writes. A record that tells no format has format 1, and none of format 1 tells it."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt that has or had the token. `pid`, `start_ticks`: its supervisor's; `mark` leads to the attempt's processes."""

    run_id: str
    item: str
    job: str
    index: int
    attempt: int
    worker: int
    sequence: int
    mark: str
    pid: int
    start_ticks: int
    boot_id: str
    session: str = ""
    """Tells supervisors apart that were one process: `orchestrate.run` may supervise the same run twice, one after the other."""

    @property
    def words(self) -> str:
        """`RUN/ITEM`."""
        return f"{self.run_id}/{self.item}"


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token is now, by its `state`.

    `held`: in flight, or kept through a backoff. `done`: the work came to a verdict, `outcome`. `released`: it came to none
    (`why`: cancelled, interrupted); `replaced_by` (`RUN/ITEM`) may have the token first.
    `claim` is new for each item that takes the token. `output`: the shape that the output must have for a success; `schema`: the
    JSON Schema that it must fit. `is_loop`: the work has rounds, so the end of an attempt may be the end of a round alone.
    `at`, `clock`: when the record was written, by the wall clock and in seconds since boot `boot`.
    """

    format: int = 1
    token: str
    payload: str
    claim: str
    state: Literal["held", "done", "released"]
    holder: Holder
    promotions: int = 0
    output: OutputKind = "text"
    schema: str | None = None
    is_loop: bool = False
    at: float
    clock: float
    boot: str
    is_success: bool = False
    outcome: Outcome | None = None
    why: str = ""
    replaced_by: str | None = None

    @property
    def age(self) -> float:
        """Seconds since the record was written. Within one boot the wall clock, which somebody may set, does not count."""
        if self.boot == boot_id():
            return max(0.0, boot_clock() / 1e9 - self.clock)
        return max(0.0, time.time() - self.at)


_decode: Callable[[bytes], TokenRecord] = json_decoder(TokenRecord)


class TokenPaths(msgspec.Struct, frozen=True):
    """The files of one token. `temporary`: what becomes the record by rename.

    As text: each item needs them several times, and pathlib would take a quarter of the time that a token costs.
    """

    lock: str
    record: str
    temporary: str


class TokenFiles:
    """Where the tokens of a home are."""

    def __init__(self, home: Path) -> None:
        self.folder = tokens_folder(home)

    def key_of(self, token: str) -> str:
        """What the names of the token's files begin with."""
        return sha256_hex(token.encode())[:32]

    def paths(self, token: str) -> TokenPaths:
        key = self.key_of(token)
        return TokenPaths(f"{self.folder}/{key}.lock", f"{self.folder}/{key}.json", f"{self.folder}/.{key}.json.new")

    def lock_path(self, token: str) -> Path:
        return Path(self.paths(token).lock)

    def record_path(self, token: str) -> Path:
        return Path(self.paths(token).record)

    def find_record(self, token: str) -> TokenRecord | None:
        """The record of a token; None if there is none, or none that can be understood."""
        with contextlib.suppress(StateRefusedError):
            return read_record(self.paths(token).record)
        return None

    def write_held(self, record: TokenRecord) -> None:
        """Survives SIGKILL, not power loss: then the agent is gone, too. Raises StateUnwritableError."""
        paths = self.paths(record.token)
        try:
            os.close(write_new_record(paths, record))
            os.rename(paths.temporary, paths.record)
        except OSError as error:
            raise unwritable(Path(paths.record), error) from error


def write_new_record(paths: TokenPaths, record: TokenRecord) -> int:
    """Write what becomes the record by rename; the descriptor of it, to be synced and closed. Raises OSError."""
    fd = open_file(paths.temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(fd, encode_json(record))
    except BaseException:
        os.close(fd)
        raise
    return fd


def encode_record(record: TokenRecord) -> bytes:
    """The record as it stands in its file."""
    return encode_json(record)


def now_stamps() -> tuple[float, float, str]:
    """`at`, `clock`, `boot` of now."""
    return time.time(), boot_clock() / 1e9, boot_id()


def read_record(path: str | Path) -> TokenRecord | None:
    """The record in the file; None if there is none, or if a power loss has torn the record of a holder.

    Raises StateRefusedError for one that is damaged, newer, or no plain file; OSError.
    """
    try:
        data = read_file(path)
    except FileNotFoundError:
        return None
    except StrangeFileError as error:
        raise StateRefusedError(f"{path}: cannot be read: {error.strerror}", "remove it, then try again") from error
    except PermissionError as error:
        # Another user's, as what root is told to be that: it is no trouble of the run, and of this token alone.
        raise StateRefusedError(f"{path}: cannot be read: {error.strerror}", "make it yours, or remove it") from error
    if _is_torn(data):
        return None
    try:
        match format_told(data):
            case None | 1:
                return decode_struct(_decode, data)
            case found:
                raise StateRefusedError(f"{path}: of a newer format ({found})", "update orchestrate")
    except ForeignBytesError as error:
        raise StateRefusedError(f"{path}: damaged: it is {error}", f"orchestrate tokens forget {Path(path).stem}") from error


def _is_torn(data: bytes) -> bool:
    """Whether this is what a power loss leaves of a record that was renamed and never synced (`write_held`).

    That is nothing, its beginning alone, or zeros where blocks were not written. The holder is gone with the power, and so is all
    that it had started. A verdict is synced before it is renamed: a part of one is damage, and no proof of anything.
    """
    if any(said in data for said in _SAID_OF_VERDICTS):
        return False
    bare = _STRING.sub(b"", data)
    is_cut = b'"' in bare or bare.count(b"{") > bare.count(b"}")
    return b"\0" in data or not data or (data.startswith(b"{") and is_cut)


_STRING = lazy_pattern(rb'"(?:[^"\\]|\\.)*"')
_SAID_OF_VERDICTS = (b'"state":"done"', b'"state":"released"')
