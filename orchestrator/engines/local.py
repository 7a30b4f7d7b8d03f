"""Local workers: one process a slot, started when first needed, reused, spoken to over a SEQPACKET socket.

Promise: a worker outlives the supervisor; closing its socket is all it takes to let it go. Invariant: a slot has at most one
worker, and a worker at most one attempt. It refuses to handle: what an attempt's end means, and the tree of a dead worker.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.engines.engine import EngineEvent, OutcomeArrived, WorkerDied, WorkerIdentity
from workers import channel
from workers.identity import boot_id, start_ticks
from workers.protocol import WORKER_SOCKET_FD, End, Ended, FromWorker, Start

WORKER_COMMAND = (sys.executable, "-m", "workers")

_decode = msgspec.msgpack.Decoder(FromWorker).decode
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class _Worker:
    slot: int
    identity: WorkerIdentity
    connection: socket.socket
    folder: Path


class LocalEngine:
    """Workers of one run on this machine. `folder_of(number)` is a worker's own folder, made when it starts."""

    def __init__(self, folder_of: Callable[[int], Path]) -> None:
        self._folder_of = folder_of
        self._by_slot: dict[int, _Worker] = {}
        self._by_fileno: dict[int, _Worker] = {}

    def prepare_slot(self, slot: int, next_worker: int) -> WorkerIdentity | None:
        """Start a worker for `slot` unless it has one. Raises OSError (EAGAIN, EMFILE) when no process can be made."""
        if slot in self._by_slot:
            return None
        worker = self._spawn(slot, next_worker)
        self._by_slot[slot] = worker
        self._by_fileno[worker.connection.fileno()] = worker
        return worker.identity

    def worker_of(self, slot: int) -> int:
        """Number of the worker that serves `slot`."""
        return self._by_slot[slot].identity.worker

    def start(self, slot: int, start: Start, lock_fds: Sequence[int]) -> None:
        """Hand over one attempt with its locks."""
        self._send(self._by_slot[slot], _encode(start), lock_fds)

    def end(self, slot: int, end: End) -> None:
        """Have a running attempt ended."""
        worker = self._by_slot.get(slot)
        if worker is not None:
            self._send(worker, _encode(end), ())

    def filenos(self) -> list[int]:
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
        message = _decode(received[0])
        assert isinstance(message, Ended), f"a worker said {message!r}"
        return [OutcomeArrived(worker.slot, message.sequence, message.outcome)]

    def close(self) -> None:
        """Let all workers go. Idle ones exit at once, the others when their attempt has ended."""
        for worker in self._by_slot.values():
            worker.connection.close()
        self._by_slot.clear()
        self._by_fileno.clear()

    def pids(self) -> set[int]:
        """Pids of the living workers."""
        return {worker.identity.pid for worker in self._by_slot.values()}

    def _send(self, worker: _Worker, message: bytes, lock_fds: Sequence[int]) -> None:
        # A worker that died is told by `poll`: its socket is readable now.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            channel.send(worker.connection, message, lock_fds, folder=str(worker.folder))

    def _spawn(self, slot: int, number: int) -> _Worker:
        folder = self._folder_of(number)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours, theirs = channel.socket_pair()
        crash_log = os.open(folder / "crash.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            environment = {name: value for name, value in os.environ.items() if name != "ORCHESTRATE_FAULT"}
            pid = os.posix_spawn(
                WORKER_COMMAND[0],
                [*WORKER_COMMAND, str(folder)],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, crash_log, 2),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), WORKER_SOCKET_FD),
                ],
                setsid=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(crash_log)
        ticks = start_ticks(pid)
        identity = WorkerIdentity(worker=number, pid=pid, start_ticks=-1 if ticks is None else ticks, boot_id=boot_id())
        return _Worker(slot=slot, identity=identity, connection=ours, folder=folder)

    def _bury(self, worker: _Worker) -> WorkerDied:
        del self._by_slot[worker.slot]
        del self._by_fileno[worker.connection.fileno()]
        worker.connection.close()
        _, status = os.waitpid(worker.identity.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        description = f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
        return WorkerDied(worker.slot, worker.identity.worker, f"worker {worker.identity.worker} {description}")
