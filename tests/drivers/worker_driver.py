"""A real worker process under test, spoken to as a supervisor would, with a hard time limit on every wait."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path
from typing import Any

import msgspec
import psutil

from drivers.processes import LIMIT_SECONDS, wait_until
from orchestrator.workers import channel
from orchestrator.workers.launch import start_worker
from orchestrator.workers.locks import lock_descriptor
from orchestrator.workers.log import read_log
from orchestrator.workers.protocol import End, Ended, EndReason, Limits, LogLine, Outcome, Spawned, Start


class WorkerDriver:
    """Start a worker in `root`/workers/0; `run` one attempt after another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "workers" / "0"
        self.folder.mkdir(parents=True)
        self.mark = f"test-{root}"
        self.pid, self.socket = start_worker(str(self.folder))
        self.exit_code: int | None = None
        self._locks: list[int] = []
        self._sequence = -1

    def start(self, *argv: str, locks: list[int] | None = None, **settings: Any) -> Start:
        """Hand over an attempt; its descriptors `locks` stay open here. `settings`: fields of `Start` and of its `Limits`."""
        self._sequence += 1
        bounds = {name: settings.pop(name) for name in Limits.__struct_fields__ if name in settings}
        fields = {
            "mark": self.mark,
            "cwd": str(self.root),
            "stdout_path": str(self.root / f"outputs/job/0/{self._sequence}-1.stdout"),
            "stderr_path": str(self.root / f"outputs/job/0/{self._sequence}-1.stderr"),
            "limits": Limits(**({"timeout_seconds": LIMIT_SECONDS} | bounds)),
            **settings,
        }
        start = Start(sequence=self._sequence, item="job:0", attempt=1, argv=list(argv), **fields)
        channel.send(self.socket, msgspec.msgpack.encode(start), locks or [], folder=str(self.folder))
        return start

    def end(
        self, start: Start, reason: EndReason = EndReason.CANCEL, grace: float = LIMIT_SECONDS, sequence: int | None = None
    ) -> None:
        end = End(sequence=start.sequence if sequence is None else sequence, reason=reason, grace_seconds=grace)
        channel.send(self.socket, msgspec.msgpack.encode(end), folder=str(self.folder))

    def outcome(self, limit: float = LIMIT_SECONDS) -> Outcome:
        """The outcome of the attempt started last."""
        readable, _, _ = select.select([self.socket], [], [], limit)
        assert readable, f"no outcome within {limit} s"
        received = channel.receive(self.socket)
        assert received is not None, f"the worker is gone: {self.crash_log()}"
        ended = msgspec.msgpack.decode(received[0], type=Ended)
        assert ended.sequence == self._sequence
        return ended.outcome

    def run(self, *argv: str, **settings: Any) -> Outcome:
        self.start(*argv, **settings)
        return self.outcome()

    def shell(self, text: str, **settings: Any) -> Outcome:
        return self.run("/bin/sh", "-c", text, **settings)

    def lock(self, path: Path) -> int:
        """A descriptor, opened anew, that holds the lock of `path`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        assert lock_descriptor(descriptor)
        self._locks.append(descriptor)
        return descriptor

    def disconnect_locks(self) -> None:
        """Close our copies of all locks, as a supervisor does that has handed them over."""
        while self._locks:
            os.close(self._locks.pop())

    def log(self) -> list[LogLine]:
        return read_log(str(self.folder / "log"))

    def logged_outcomes(self) -> dict[int, Outcome]:
        return {line.sequence: line.outcome for line in self.log() if isinstance(line, Ended)}

    def agent(self) -> Spawned:
        """The agent that was spawned last, as the log tells."""
        return wait_until(
            lambda: next((line for line in self.log() if isinstance(line, Spawned) and line.sequence == self._sequence), None),
            "the agent is in the log",
        )

    def crash_log(self) -> str:
        return (self.folder / "crash.log").read_text()

    def disconnect(self) -> None:
        """What a worker sees of a supervisor that was killed."""
        self.socket.close()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        assert self.wait_exit() == -signal.SIGKILL

    def wait_exit(self, limit: float = LIMIT_SECONDS) -> int:
        """The worker's exit code, negative for a signal."""

        def has_exited() -> bool:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
            return self.exit_code is not None

        if self.exit_code is None:
            wait_until(has_exited, "the worker's exit", limit)
        assert self.exit_code is not None
        return self.exit_code

    def close(self) -> None:
        """Leave no process behind, whatever the test came to."""
        self.socket.close()
        if self.exit_code is None:
            for process in [*psutil.Process(self.pid).children(recursive=True), psutil.Process(self.pid)]:
                process.kill()
            self.wait_exit()


def may_be_locked(path: Path) -> bool:
    """Whether nobody holds the lock of `path`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        return lock_descriptor(descriptor)
    finally:
        os.close(descriptor)
