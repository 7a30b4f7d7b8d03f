"""Local workers: one process a slot, started when first needed, reused, spoken to over a SEQPACKET socket.

Promise: a worker outlives the supervisor; closing its socket is all it takes to let it go. Invariant: a slot has at most one
worker, and a worker at most one attempt. It refuses to handle: what an attempt's end means, and the tree of a dead worker.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from orchestrator.engines.engine import EngineEvent, OutcomeArrived, WorkerDied
from orchestrator.store.records import WorkerStarted
from orchestrator.workers import channel
from orchestrator.workers.launch import CRASH_LOG_NAME, died_of_shortage, start_worker
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import AttemptClass, End, Ended, Outcome, Start

GOODBYE_SECONDS = 2.0
"""How long `close` waits for idle workers to be gone, so that nothing of a finished run is seen afterwards."""

_decode = msgspec.msgpack.Decoder(Ended).decode
_encode = msgspec.msgpack.Encoder().encode


class _Worker(msgspec.Struct):
    slot: int
    process: WorkerStarted
    connection: socket.socket
    folder: str
    is_prepared: bool
    """It is meant for the next start in its slot, or runs it."""
    running: int | None = None
    """Sequence of the attempt that it was sent."""
    shortage: OSError | None = None
    """Why its attempt could not be sent to it."""


class LocalEngine:
    """Workers of one run on this machine. `folder_of(number)` is a worker's own folder, made when it starts."""

    def __init__(self, folder_of: Callable[[int], Path]) -> None:
        self._folder_of = folder_of
        self._by_slot: dict[int, _Worker] = {}
        self._by_fileno: dict[int, _Worker] = {}

    def prepare_slot(self, slot: int, next_worker: int) -> WorkerStarted | None:
        """Start a worker for `slot` unless it has one, or another slot has an idle one: it moves.

        Where the machine has no room for one more, idle workers would else keep a slot without one from ever working. Raises
        OSError (EAGAIN, EMFILE) when no process can be made.
        """
        worker = self._by_slot.get(slot) or self._idle()
        if worker is not None:
            del self._by_slot[worker.slot]
            worker.slot = slot
            worker.is_prepared = True
            self._by_slot[slot] = worker
            return None
        folder = self._folder_of(next_worker)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pid, connection = start_worker(str(folder))
        try:
            ticks = start_ticks(pid)
        except OSError:
            connection.close()
            os.waitpid(pid, 0)
            raise
        assert ticks is not None, "a child that was not reaped has start ticks"
        process = WorkerStarted(worker=next_worker, pid=pid, start_ticks=ticks, boot_id=boot_id())
        worker = _Worker(slot=slot, process=process, connection=connection, folder=str(folder), is_prepared=True)
        self._by_slot[slot] = worker
        self._by_fileno[connection.fileno()] = worker
        return process

    def has_worker(self, slot: int) -> bool:
        """Whether one serves `slot`, or is idle and can."""
        return slot in self._by_slot or self._idle() is not None

    def worker_of(self, slot: int) -> int:
        """Number of the worker that serves `slot`."""
        return self._by_slot[slot].process.worker

    def start(self, slot: int, start: Start, lock_fds: Sequence[int]) -> None:
        """Hand over one attempt with its locks. If there is no room for the message, `poll` tells a shortage."""
        worker = self._by_slot[slot]
        worker.running = start.sequence
        try:
            self._send(worker, _encode(start), lock_fds)
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            # The worker exits now, having begun nothing, and its end wakes whoever polls.
            worker.shortage = error
            worker.connection.shutdown(socket.SHUT_RDWR)

    def end(self, slot: int, end: End) -> None:
        """Have a running attempt ended."""
        worker = self._by_slot.get(slot)
        if worker is not None:
            self._send(worker, _encode(end), ())
            # One that is stopped, by whomever, would never read it. It is our child and not reaped, so no other has its number;
            # unless the program around us reaps children that are not its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGCONT)

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
            return self._bury(worker)
        ended = _decode(received[0])
        worker.running = None
        worker.is_prepared = False
        if ended.outcome.attempt_class is AttemptClass.SHORTAGE:
            # Idle workers may be what the machine has no room for: sixteen of them would keep each other from ever working.
            self._forget(worker)
            _wait_for(worker.process.pid, time.monotonic() + GOODBYE_SECONDS)
        return [OutcomeArrived(worker.slot, ended.sequence, ended.outcome)]

    def close(self) -> None:
        """Let all workers go. Idle ones are gone when this returns, the others when their attempt has ended."""
        for worker in self._by_slot.values():
            worker.connection.close()
        deadline = time.monotonic() + GOODBYE_SECONDS
        for worker in self._by_slot.values():
            if worker.running is None:
                _wait_for(worker.process.pid, deadline)
            else:
                _reap_later(worker.process.pid)
        self._by_slot.clear()
        self._by_fileno.clear()

    def _idle(self) -> _Worker | None:
        return next((worker for worker in self._by_slot.values() if not worker.is_prepared), None)

    def _send(self, worker: _Worker, message: bytes, lock_fds: Sequence[int]) -> None:
        # A worker that died is told by `poll`: its socket is readable now.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            channel.send(worker.connection, message, lock_fds, folder=worker.folder)

    def _forget(self, worker: _Worker) -> None:
        """Let go of a worker: it exits, if it has not yet."""
        del self._by_slot[worker.slot]
        del self._by_fileno[worker.connection.fileno()]
        worker.connection.close()

    def _bury(self, worker: _Worker) -> list[EngineEvent]:
        """It is gone. If the machine had no room for it, its attempt was never begun: a shortage, and no loss."""
        self._forget(worker)
        code = _exit_code(worker.process.pid)
        number = worker.process.worker
        if worker.running is not None and _found_no_room(worker, code):
            why = f"see {worker.folder}/{CRASH_LOG_NAME}" if worker.shortage is None else worker.shortage.strerror
            message = f"no room on this machine just now for a worker: {why}"
            died = WorkerDied(worker.slot, number, f"worker {number}: {message}")
            return [OutcomeArrived(worker.slot, worker.running, _shortage(message)), died]
        if code is None:
            return [WorkerDied(worker.slot, number, f"worker {number} ended; somebody else in this process waited for it")]
        how = f"was ended by signal {-code}" if code < 0 else f"exited with {code}; see {worker.folder}/{CRASH_LOG_NAME}"
        return [WorkerDied(worker.slot, number, f"worker {number} {how}")]


def _found_no_room(worker: _Worker, code: int | None) -> bool:
    if worker.shortage is None and not ((code is None or code > 0) and died_of_shortage(worker.folder)):
        return False
    return all(line.sequence != worker.running for line in read_log(f"{worker.folder}/{LOG_NAME}"))


def _shortage(message: str) -> Outcome:
    now = time.time()
    return Outcome(attempt_class=AttemptClass.SHORTAGE, started_at=now, finished_at=now, duration_seconds=0.0, message=message)


def _wait_for(pid: int, deadline: float) -> None:
    """Reap a worker that was let go. One that is stopped (SIGSTOP) must not hold us for ever."""
    pause = 0.0005
    with contextlib.suppress(ChildProcessError):  # somebody else in this process reaps children
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def _reap_later(pid: int) -> None:
    """A program that goes on after its run broke off shall keep no zombie of a worker that goes on, too."""
    # Without room for a thread a zombie is the least of its troubles.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=_exit_code, args=(pid,), name=f"reap-{pid}", daemon=True).start()


def _exit_code(pid: int) -> int | None:
    """Of a worker that has ended, negative of a signal; None if the program around us reaps children that are not its own."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None
