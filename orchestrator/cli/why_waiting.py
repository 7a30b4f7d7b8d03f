"""What items wait for: as the living supervisor says, or, where none answers, as the records say.

A process that holds something and is stopped (SIGSTOP) is named here, and nothing is taken from it: only its owner knows why it
is stopped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import UserError
from orchestrator.store.records import ItemSettled, Status
from orchestrator.system.locks.holders import is_stopped

if TYPE_CHECKING:
    from orchestrator.control.messages import Reply, WhyItWaits
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.shared.limits.park import Park

_ITEMS_A_QUESTION = 50
"""Items in one question. A supervisor never waits for its asker, so an answer must fit the buffer of a socket."""

_PATIENCE_SECONDS = 5.0
_WAITING = (Status.PENDING, Status.WAITING)


_PATIENCE_OF_COUNTS_SECONDS = 0.3
"""For counts. A person watches `status`: an answer that comes soon is worth more than one that is exact."""


def waiting_counts(reader: RunReader) -> dict[str, int]:
    """Job id -> number of items that wait, as the living supervisor says; empty if none answers at once."""
    return told_counts(reader).waiting


def told_counts(reader: RunReader) -> Reply:
    """What the living supervisor says of items that wait (`waiting`) and accounts that are spared (`spared`).

    A reply that is not `ok`: no supervisor answered at once, and the records must do.
    """
    from orchestrator.control.client import ask
    from orchestrator.control.messages import CountWaiting, Reply

    if not reader.is_alive:
        return Reply(False, "")
    try:
        return ask(reader.run_dir.path, CountWaiting(), _PATIENCE_OF_COUNTS_SECONDS)
    except UserError:
        return Reply(False, "")  # the supervisor is stopped, busy, or ends just now; a bug would be no UserError


def limits_in_the_way(reader: RunReader) -> list[Park]:
    """The usage limits of the accounts that this run's jobs name: they keep its items from starting, now or in a resume."""
    from orchestrator.shared.limits.parks import Parks
    from orchestrator.supervisor.account_limits import accounts_of

    parks = Parks(reader.run_dir.home).parks_in_force()
    if not parks:
        return []
    used = {account for accounts in accounts_of(reader.jobs_file, os.environ).values() for account in accounts}
    return [park for park in parks if park.account in used]


class WaitExplanations:
    """What `items` of one run, each (job id, index), wait for. The supervisor is asked once, when this is made."""

    def __init__(self, reader: RunReader, items: Sequence[tuple[str, int]]) -> None:
        self._reader = reader
        self._silence = ""
        self._stopped: dict[str, list[int]] = {}
        self._told: dict[tuple[str, int], WhyItWaits] = {}
        if reader.is_alive:
            waiting = [(job_id, index) for job_id, index in items if reader.history.jobs[job_id].status(index) in _WAITING]
            try:
                self._ask(waiting)
            except UserError as error:
                # The supervisor may be stopped itself: then the records are all there is.
                self._silence = error.message

    def words(self, job_id: str, index: int) -> str:
        """What the item waits for, in one line; empty if nothing is known beyond its status."""
        record = self._reader.history.jobs[job_id].record(index)
        waiting = record if isinstance(record, ItemSettled) and record.status is Status.WAITING else None
        pids = self._stopped_holders(waiting.token) if waiting is not None and waiting.token is not None else []
        told = self._told.get((job_id, index))
        if told is not None:
            said = [told.words, *_held_by([*told.holders, *pids])]
        else:
            said = [waiting.message if waiting is not None else "", self._silence, *_held_by(pids)]
        return "; ".join(each for each in said if each)

    def is_waiting(self, job_id: str, index: int) -> bool:
        """Whether the supervisor says that the item was tried and waits. Not every wait is recorded: a wait for a pool is not."""
        told = self._told.get((job_id, index))
        return told is not None and told.is_waiting

    def _ask(self, items: list[tuple[str, int]]) -> None:
        from orchestrator.control.client import ask
        from orchestrator.control.messages import Explain

        for start in range(0, len(items), _ITEMS_A_QUESTION):
            asked = items[start : start + _ITEMS_A_QUESTION]
            reply = ask(self._reader.run_dir.path, Explain(asked), _PATIENCE_SECONDS)
            if not reply.ok:
                return  # a supervisor of another version: the records must do
            self._told.update(zip(asked, reply.waits, strict=True))

    def _stopped_holders(self, token: str) -> list[int]:
        """The pids of those processes of the token's holder (supervisor, worker, agent) that are stopped."""
        from orchestrator.cli.known_tokens import find_token

        if token not in self._stopped:
            known = find_token(self._reader.run_dir.home, token)
            pids = known.pids if known is not None else ()
            self._stopped[token] = [pid for pid in pids if is_stopped(pid)]
        return self._stopped[token]


def _held_by(pids: Sequence[int]) -> Iterator[str]:
    """`held by process 123`, and a sentence for each process that is stopped. Each process is named once."""
    stopped = {pid: is_stopped(pid) for pid in pids}
    running = [str(pid) for pid in stopped if not stopped[pid]]
    if running:
        yield f"held by process{'es' if len(running) > 1 else ''} {', '.join(running)}"
    for pid in stopped:
        if stopped[pid]:
            yield f"process {pid} is stopped (SIGSTOP) and holds on: kill -CONT {pid} lets it go on, cancel ends it"
