"""Records of tokens, as a desk leaves them, and their locks while somebody has them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.shared.tokens.record import Holder, TokenFiles, TokenRecord, encode_record
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.identity import boot_id, start_ticks

MARK = "r1.n/port:3/1"


def holder(pid: int = 1, ticks: int = -1, **more: Any) -> Holder:
    """The attempt r1/port:3, of a supervisor that is dead unless the caller says which process it is."""
    place: dict[str, Any] = {
        "run_id": "r1",
        "item": "port:3",
        "job": "port",
        "index": 3,
        "attempt": 1,
        "worker": 0,
        "sequence": 7,
    }
    return Holder(**{**place, "mark": MARK, "pid": pid, "start_ticks": ticks, "boot_id": boot_id(), **more})


def living_holder() -> Holder:
    """An attempt whose supervisor is this process (which has to hold the supervisor lock of the run)."""
    return holder(os.getpid(), start_ticks(os.getpid()) or -1)


def record(token: str, state: str = "done", *, age: float = 3600.0, **more: Any) -> TokenRecord:
    """A record that was written `age` seconds ago; of a boot before this one, so that only its wall clock counts."""
    told: dict[str, Any] = {
        "token": token,
        "payload": "hash",
        "claim": f"claim of {token}",
        "state": state,
        "holder": holder(),
        "at": time.time() - age,
        "clock": 0.0,
        "boot": "an earlier boot",
        **more,
    }
    return TokenRecord(**told)


def write(home: Path, *records: TokenRecord) -> None:
    """Put records, each with its lock file, into the home."""
    files = TokenFiles(home)
    home.mkdir(mode=0o700, exist_ok=True)
    files.folder.mkdir(mode=0o700, exist_ok=True)
    for each in records:
        files.record_path(each.token).write_bytes(encode_record(each))
        files.lock_path(each.token).touch()


@contextmanager
def lock_held(path: Path) -> Iterator[None]:
    """Somebody holds the lock, and writes nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = try_lock(path)
    assert fd is not None
    try:
        yield
    finally:
        unlock(fd)


def token_locked(home: Path, token: str) -> AbstractContextManager[None]:
    """Somebody looks at a token for a moment."""
    return lock_held(TokenFiles(home).lock_path(token))


def supervising(home: Path) -> AbstractContextManager[None]:
    """This process is the supervisor of r1."""
    return lock_held(home / "runs" / "r1" / "supervisor.lock")
