"""The tokens of a home, as `tokens`, `prune`, `why` and `doctor` see them; and how a token is forgotten, under its lock.

Reading takes no lock. A token is forgotten only while nobody holds its lock, no run keeps it through a backoff, and no process of
its last holder lives. The reason for the last: by the record the next holder finds such a process, and ends it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.engines.onlookers import living_process, process_with_mark
from orchestrator.errors import RunHeldError, StateRefusedError, UserError
from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.record import Holder, TokenFiles, TokenRecord, read_record
from orchestrator.store.durable_file import unwritable
from orchestrator.store.home import tokens_folder
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.locks.travelling import try_lock
from orchestrator.system.wording import cut
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.locks import unlock

_KEY = lazy_pattern(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class KnownToken:
    """One token. `record` is None if it cannot be read: then `trouble` says why.

    `state`: `in flight`, `lost` (its holder died), `succeeded`, `failed`, `unreadable`, or why it was released (`cancelled`, …).
    `pids`: the living ones of the processes that hold it, which are a supervisor, a worker and an agent.
    """

    key: str
    record: TokenRecord | None
    state: str
    pids: tuple[int, ...] = ()
    trouble: str = ""

    @property
    def token(self) -> str | None:
        """Its text; None if the record cannot be read."""
        return self.record.token if self.record is not None else None


def known_tokens(home: Path) -> Iterator[KnownToken]:
    """Every token that has a record, in order of the keys. Raises UserError: the folder may not be read."""
    folder = tokens_folder(home)
    try:
        names = os.listdir(folder)
    except PermissionError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}", "make it yours, with all that is in it") from error
    except OSError:  # there is none
        return
    for path in sorted(folder / name for name in names if name.endswith(".json")):
        known = _known(home, path)
        if known is not None:
            yield known


def find_token(home: Path, token: str) -> KnownToken | None:
    """What is known of one token; None if it has no record."""
    return _known(home, TokenFiles(home).record_path(token))


def forget(home: Path, word: str) -> None:
    """Remove record and lock file of a token, named by its text or its key.

    Raises UserError (nothing is known of it), RunHeldError (it is in flight), StateUnwritableError.
    """
    files = TokenFiles(home)
    keys = [files.key_of(word)] if _is_text(word) else []
    if _KEY.fullmatch(word):
        keys.append(word)
    key = next((key for key in keys if _may_stand(files.folder / f"{key}.json")), None)
    if key is None:
        raise UserError(
            f"no token {cut(word, 200)!r} is known in {home}", "orchestrate tokens list shows them; all of its text is needed"
        )
    hindrance = _remove(home, key)
    if hindrance:
        raise RunHeldError(
            f"token {cut(word, 200)!r} {hindrance}", "orchestrate tokens list shows who does its work; cancel ends that"
        )


def forget_older(home: Path, age_seconds: float, *, is_dry: bool) -> list[KnownToken]:
    """Forget each token whose record is `age_seconds` old or older and that is not in use; those that were forgotten.

    `is_dry`: forget none, and tell those that would be.
    """
    forgotten = []
    for known in known_tokens(home):
        if known.record is None or known.record.age < age_seconds or known.state == "in flight":
            continue
        if is_dry:
            hindrance = _hindrance(home, known.record) or is_locked(tokens_folder(home) / f"{known.key}.lock")
        else:
            hindrance = _remove(home, known.key, of=known.record.claim)
        if not hindrance:
            forgotten.append(known)
    return forgotten


def _may_stand(path: Path) -> bool:
    """Whether a record is there, or nobody can tell: then the try to remove it says why."""
    try:
        return path.is_file()
    except PermissionError:
        return True


def _is_text(word: str) -> bool:
    """Whether `word` is UTF-8. An argument of the command line may be any bytes; a token is always text."""
    return not any("\ud800" <= character <= "\udfff" for character in word)


def _remove(home: Path, key: str, *, of: str | None = None) -> str:
    """Remove a token's files; empty, or in words why it stays. `of`: remove it only if it still belongs to this claim."""
    # Under its lock: nobody can take the token up in between.
    record_path, lock_path = tokens_folder(home) / f"{key}.json", tokens_folder(home) / f"{key}.lock"
    try:
        fd = try_lock(lock_path)
        if fd is None:
            return f"is in flight{_by(_known(home, record_path))}"
        try:
            # Read again under the lock: what was read without it may be old.
            known = _known(home, record_path)
            record = known.record if known is not None else None
            if of is not None and (record is None or record.claim != of):
                return "has been taken since"
            hindrance = _hindrance(home, record) if record is not None else ""
            if not hindrance:
                # A process that has the lock file open already, and gets the lock next, sees that the file is gone (`try_lock`).
                record_path.unlink(missing_ok=True)
                lock_path.unlink()
            return hindrance
        finally:
            unlock(fd)
    except OSError as error:
        raise unwritable(lock_path, error) from error


def _hindrance(home: Path, record: TokenRecord) -> str:
    """Why a record must stay although its lock is free, in words; empty if it may go."""
    if record.state != "held":
        return ""
    if Holders(home).lives(record.holder):
        return f"is kept by {record.holder.words} until its next attempt"
    left = next(iter(Holders(home).pids(record.holder)), None) or process_with_mark(record.holder.mark)
    return f"is in flight: {record.holder.words} left process {left} behind (orchestrate doctor --orphans --kill)" if left else ""


def _by(known: KnownToken | None) -> str:
    if known is None or known.record is None:
        return ""
    pids = f" (process {', '.join(map(str, known.pids))})" if known.pids else ", whose supervisor is dead"
    return f": {known.record.holder.words}{pids} does its work"


def _known(home: Path, path: Path) -> KnownToken | None:
    try:
        record = read_record(path)
    except StateRefusedError as error:
        return KnownToken(path.stem, None, "unreadable", trouble=error.message)
    if record is None:
        return None
    if record.state == "held":
        if not Holders(home).lives(record.holder):
            return KnownToken(path.stem, record, "lost")
        return KnownToken(path.stem, record, "in flight", _processes(home, record.holder))
    if record.state == "done":
        return KnownToken(path.stem, record, "succeeded" if record.is_success else "failed")
    return KnownToken(path.stem, record, "replaced" if record.replaced_by else record.why)


def _processes(home: Path, holder: Holder) -> tuple[int, ...]:
    """The holder's supervisor, worker and agent, as far as they live."""
    found = Holders(home).pids(holder)
    try:
        worker = read_history(RunDir.of(home, holder.run_id)).workers.get(holder.worker)
    except (UserError, FileNotFoundError):
        worker = None
    if worker is not None and (pid := living_process(worker)) is not None:
        found.append(pid)
    return tuple(dict.fromkeys(found))
