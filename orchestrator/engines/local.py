"""Local workers: one process a slot, started when first needed, reused, spoken to over a SEQPACKET socket.

Promise: a worker outlives the supervisor; closing its socket is all it takes to let it go. Invariant: a slot has at most one
worker, and a worker at most one attempt. It refuses to handle: what an attempt's end means, and the tree of a dead worker.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.engines.engine import EngineEvent, OutcomeArrived, WorkerDied
from orchestrator.store.records import WorkerStarted
from workers import channel
from workers.identity import boot_id, start_ticks
from workers.launch import CRASH_LOG_NAME, start_worker
from workers.protocol import End, Ended, Start

GOODBYE_SECONDS = 2.0
"""How long `close` waits for idle workers to be gone, so that nothing of a finished run is seen afterwards."""

_decode = msgspec.msgpack.Decoder(Ended).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class _Worker:
    slot: int
    process: WorkerStarted
    connection: socket.socket
    folder: str
    is_busy: bool = False


class LocalEngine:
    """Workers of one run on this machine. `folder_of(number)` is a worker's own folder, made when it starts."""

    def __init__(self, folder_of: Callable[[int], Path]) -> None:
        self._folder_of = folder_of
        self._by_slot: dict[int, _Worker] = {}
        self._by_fileno: dict[int, _Worker] = {}

    def prepare_slot(self, slot: int, next_worker: int) -> WorkerStarted | None:
        """Start a worker for `slot` unless it has one. Raises OSError (EAGAIN, EMFILE) when no process can be made."""
        if slot in self._by_slot:
            return None
        folder = self._folder_of(next_worker)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pid, connection = start_worker(str(folder))
        ticks = start_ticks(pid)
        assert ticks is not None, "a child that was not reaped has start ticks"
        process = WorkerStarted(worker=next_worker, pid=pid, start_ticks=ticks, boot_id=boot_id())
        worker = _Worker(slot=slot, process=process, connection=connection, folder=str(folder))
        self._by_slot[slot] = worker
        self._by_fileno[connection.fileno()] = worker
        return process

    def worker_of(self, slot: int) -> int:
        """Number of the worker that serves `slot`."""
        return self._by_slot[slot].process.worker

    def start(self, slot: int, start: Start, lock_fds: Sequence[int]) -> None:
        """Hand over one attempt with its locks."""
        worker = self._by_slot[slot]
        worker.is_busy = True
        self._send(worker, _encode(start), lock_fds)

    def end(self, slot: int, end: End) -> None:
        """Have a running attempt ended."""
        worker = self._by_slot.get(slot)
        if worker is not None:
            self._send(worker, _encode(end), ())

    def filenos(self) -> Sequence[int]:
        """The sockets of all workers."""
        return list(self._by_fileno)

    def poll(self, fileno: int) -> list[EngineEvent]:
        """Read one message of the worker behind `fileno`."""
        worker = self._by_fileno.get(fileno)
        if worker is None:
            return []
        received = channel.receive(worker.connection)
        if received is None:
            return [self._bury(worker)]
        ended = _decode(received[0])
        worker.is_busy = False
        return [OutcomeArrived(worker.slot, ended.sequence, ended.outcome)]

    def close(self) -> None:
        """Let all workers go. Idle ones are gone when this returns, the others when their attempt has ended."""
        for worker in self._by_slot.values():
            worker.connection.close()
        deadline = time.monotonic() + GOODBYE_SECONDS
        for worker in self._by_slot.values():
            if not worker.is_busy:
                _wait_for(worker.process.pid, deadline)
        self._by_slot.clear()
        self._by_fileno.clear()

    def _send(self, worker: _Worker, message: bytes, lock_fds: Sequence[int]) -> None:
        # A worker that died is told by `poll`: its socket is readable now.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            channel.send(worker.connection, message, lock_fds, folder=worker.folder)

    def _bury(self, worker: _Worker) -> WorkerDied:
        del self._by_slot[worker.slot]
        del self._by_fileno[worker.connection.fileno()]
        worker.connection.close()
        _, status = os.waitpid(worker.process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        crash_log = f"{worker.folder}/{CRASH_LOG_NAME}"
        how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}; see {crash_log}"
        return WorkerDied(worker.slot, worker.process.worker, f"worker {worker.process.worker} {how}")


def _wait_for(pid: int, deadline: float) -> None:
    """Reap a worker that was let go. One that is stopped (SIGSTOP) must not hold us for ever."""
    pause = 0.0005
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
