"""Workers of an earlier supervisor that still run an attempt. They cannot be spoken to; their end can be awaited.

Promise: an adopted attempt is never started twice: its slot is told free only once its worker is gone, and its outcome is read
from the worker's log.
"""

from __future__ import annotations

import os
import select
import signal

import msgspec

from orchestrator.engines.engine import Attempt
from orchestrator.store.records import WorkerStarted
from orchestrator.workers.processes.identity import is_same_process
from orchestrator.workers.protocol import HURRY_SIGNAL

POLL_SECONDS = 0.2
"""How often a worker is looked for where the kernel has no pidfd (macOS)."""


class _Adopted(msgspec.Struct, frozen=True):
    attempt: Attempt
    process: WorkerStarted
    pidfd: int | None


class AdoptedWorkers:
    """The adopted attempts of one run, by slot."""

    def __init__(self) -> None:
        self._by_slot: dict[int, _Adopted] = {}

    def try_adopt(self, attempt: Attempt, worker: WorkerStarted) -> bool:
        """Watch this worker if it lives; False if it is gone, or no process of this machine."""
        if worker.pid == 0:
            return False
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
        self._by_slot[attempt.slot] = _Adopted(attempt, worker, pidfd)
        return True

    def __contains__(self, slot: int) -> bool:
        return slot in self._by_slot

    def __len__(self) -> int:
        return len(self._by_slot)

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
            return  # it just ended, and `take_gone` tells it

    def filenos(self) -> list[int]:
        """Descriptors that become readable when an adopted worker is gone."""
        return [adopted.pidfd for adopted in self._by_slot.values() if adopted.pidfd is not None]

    @property
    def needs_polling(self) -> bool:
        """Whether `take_gone` must be called every `POLL_SECONDS`."""
        return bool(self._by_slot) and any(adopted.pidfd is None for adopted in self._by_slot.values())

    def take_gone(self) -> list[Attempt]:
        """The attempts whose workers are gone, each once."""
        gone = [adopted.attempt for adopted in self._by_slot.values() if self._is_gone(adopted)]
        for attempt in gone:
            self.forget(attempt)
        return gone

    def forget(self, attempt: Attempt) -> None:
        """Wait for it no more."""
        adopted = self._by_slot.pop(attempt.slot)
        if adopted.pidfd is not None:
            os.close(adopted.pidfd)

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
