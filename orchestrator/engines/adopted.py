"""Workers of an earlier supervisor that still run an attempt. They cannot be spoken to; their end can be awaited.

Promise: an adopted attempt is never started twice: its slot is told free only once its worker is gone, and its outcome is read
from the worker's log.
"""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import msgspec

from orchestrator.engines.engine import EngineEvent, OutcomeArrived, WorkerDied
from orchestrator.store.records import WorkerStarted
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.processes.identity import is_same_process
from orchestrator.workers.protocol import HURRY_SIGNAL, Ended, Outcome

POLL_SECONDS = 0.2
"""How often a worker is looked for where the kernel has no pidfd (macOS)."""


class _Adopted(msgspec.Struct, frozen=True):
    slot: int
    sequence: int
    process: WorkerStarted
    folder: Path
    pidfd: int | None


class AdoptedWorkers:
    """The adopted attempts of one run, by slot."""

    def __init__(self) -> None:
        self._by_slot: dict[int, _Adopted] = {}

    def adopt(self, slot: int, sequence: int, worker: WorkerStarted, folder: Path) -> bool:
        """Watch this worker if it lives; False if it is gone."""
        pidfd = None
        if hasattr(os, "pidfd_open"):
            try:
                pidfd = os.pidfd_open(worker.pid)
            except ProcessLookupError:
                return False
        # Asked after the pidfd was opened: now the number cannot pass to another process behind our back.
        if not is_same_process(worker.pid, worker.start_ticks, worker.boot_id):
            if pidfd is not None:
                os.close(pidfd)
            return False
        self._by_slot[slot] = _Adopted(slot, sequence, worker, folder, pidfd)
        return True

    def __contains__(self, slot: int) -> bool:
        return slot in self._by_slot

    def end(self, slot: int, *, is_hurried: bool) -> None:
        """Ask the worker to end its attempt, with the attempt's grace or (`is_hurried`) a second at most."""
        adopted = self._by_slot[slot]
        # SIGCONT: one that is stopped, by whomever, would never hear it.
        numbers = (HURRY_SIGNAL if is_hurried else signal.SIGTERM, signal.SIGCONT)
        try:
            for number in numbers:
                if adopted.pidfd is not None:
                    signal.pidfd_send_signal(adopted.pidfd, number)
                elif is_same_process(adopted.process.pid, adopted.process.start_ticks, adopted.process.boot_id):
                    os.kill(adopted.process.pid, number)
        except ProcessLookupError:
            return  # it just ended, and `poll` tells it

    def filenos(self) -> list[int]:
        """Descriptors that become readable when an adopted worker is gone."""
        return [adopted.pidfd for adopted in self._by_slot.values() if adopted.pidfd is not None]

    @property
    def needs_polling(self) -> bool:
        """Whether `poll` must be called every `POLL_SECONDS`."""
        return any(adopted.pidfd is None for adopted in self._by_slot.values())

    def poll(self) -> list[EngineEvent]:
        """What became of the workers that are gone."""
        events: list[EngineEvent] = []
        for adopted in list(self._by_slot.values()):
            if self._is_gone(adopted):
                del self._by_slot[adopted.slot]
                if adopted.pidfd is not None:
                    os.close(adopted.pidfd)
                events.append(self._report(adopted))
        return events

    def close(self) -> None:
        """Let them go on."""
        for adopted in self._by_slot.values():
            if adopted.pidfd is not None:
                os.close(adopted.pidfd)
        self._by_slot.clear()

    def _is_gone(self, adopted: _Adopted) -> bool:
        if adopted.pidfd is not None:
            poll = select.poll()
            poll.register(adopted.pidfd, select.POLLIN)
            return bool(poll.poll(0))
        return not is_same_process(adopted.process.pid, adopted.process.start_ticks, adopted.process.boot_id)

    def _report(self, adopted: _Adopted) -> EngineEvent:
        outcome = logged_outcome(adopted.folder, adopted.sequence)
        if outcome is not None:
            return OutcomeArrived(adopted.slot, adopted.sequence, outcome)
        number = adopted.process.worker
        return WorkerDied(adopted.slot, number, f"worker {number} (of an earlier supervisor) ended without an outcome")


def logged_outcome(folder: Path, sequence: int) -> Outcome | None:
    """The outcome of start `sequence`, if the worker of `folder` left it in its log."""
    for line in read_log(str(folder / LOG_NAME)):
        if isinstance(line, Ended) and line.sequence == sequence:
            return line.outcome
    return None
