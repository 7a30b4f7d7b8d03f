"""Run one attempt from its `Start` to its outcome on disk.

Order, and why: `Begun` is logged before the agent starts (a resume knows what to look for), `Spawned` at once after, `Ended`
before anything is unlocked or told (a kill in between loses nothing), and the locks go only when the tree is confirmed ended
(no second agent beside the first). Whatever goes wrong with an attempt is its outcome; an exception from here is our bug.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from workers import creates, tree
from workers.capture import CaptureFile
from workers.faultpoints import fault_point
from workers.identity import boot_clock, boot_id, start_ticks_of_child
from workers.locks import unlock
from workers.log import LOG_NAME, LogWriter
from workers.protocol import EMPTY_CAPTURE, AttemptClass, Begun, Ended, LogLine, Outcome, Spawned, Start
from workers.spawn import SHORTAGES, CannotStart, base_environment, ignored_signals, spawn
from workers.verdict import Verdict, verdict_of
from workers.watch import Control, Watch

if TYPE_CHECKING:
    from workers.workspaces import Workspace

_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class AttemptRunner:
    """Runs attempts, one after another, with the files of one worker's `folder` (absolute, made already).

    `control` is where a running attempt waits; a SIGCHLD handler must be installed that wakes it. The process becomes a subreaper
    and every child it gets is the attempt's; only `strangers` (see `tree.children_now`) are left alone. The current directory
    changes with each attempt. After `run`, `log_error` tells why the outcome may be missing in the log.
    """

    def __init__(self, folder: str, control: Control, strangers: frozenset[int] = frozenset()) -> None:
        self.log_error: OSError | None = None
        self._folder = folder
        self._control = control
        self._strangers = strangers
        self._is_subreaper = tree.become_subreaper()
        self._log: LogWriter | None = None
        self._last_sequence = -1
        self._stdout = CaptureFile(f"{folder}/stdout")
        self._stderr = CaptureFile(f"{folder}/stderr")
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._environment = base_environment(folder)
        self._ignored = ignored_signals()

    def run(self, start: Start, locks: Sequence[int]) -> Outcome:
        """Run one attempt. `locks` are its lock descriptors: let go and closed here, after its outcome is in the log."""
        started_at = time.time()
        began = time.monotonic()
        self.log_error = None
        if start.recorded_through >= self._last_sequence and self._log is not None:
            self._log.forget()
        self._append(Begun(sequence=start.sequence, boot_id=boot_id(), mark=start.mark, holding=start.holding))
        fault_point("worker.begun")
        workspace = _workspace(start)
        verdict, watch = self._carry_out(start, locks, workspace)
        finished_at = time.time()
        duration = time.monotonic() - began
        stdout = stderr = EMPTY_CAPTURE
        if watch is not None:
            try:
                stdout = self._stdout.take(start.stdout_path, start.max_output_bytes, is_sole_writer=not watch.leftovers)
                stderr = self._stderr.take(start.stderr_path, start.max_output_bytes, is_sole_writer=not watch.leftovers)
            except OSError as error:
                # Neither file is used again: what stands in it must not become the next attempt's output.
                self._stdout.forget()
                self._stderr.forget()
                verdict = verdict.but(AttemptClass.STATE_ERROR, f"the output could not be kept: {error.strerror}")
            if verdict.attempt_class is AttemptClass.COMMAND_FAILED and _is_disk_full(self._folder):
                # It may have failed for that alone, and its output may lack its end: no verdict on the command.
                verdict = verdict.but(AttemptClass.STATE_ERROR, "the disk that takes its output is full")
        if start.creates is not None:
            verdict = creates.settle(start.creates, verdict)
        report = None
        if workspace is not None:
            verdict, report = workspace.finish(verdict, f"{self._folder}/patch", start.max_output_bytes)
        outcome = Outcome(
            attempt_class=verdict.attempt_class,
            started_at=started_at,
            finished_at=finished_at,
            duration_seconds=duration,
            exit_code=verdict.exit_code,
            signal=verdict.signal,
            ended_by=verdict.ended_by,
            message=verdict.message,
            stdout=stdout,
            stderr=stderr,
            cpu_seconds=0.0 if watch is None else watch.cpu_seconds,
            max_rss_bytes=0 if watch is None else watch.max_rss * _RSS_UNIT_BYTES,
            leftovers=0 if watch is None else len(watch.leftovers),
            workspace=report,
        )
        self.log_error = None
        self._append(Ended(sequence=start.sequence, outcome=outcome))
        self._last_sequence = start.sequence
        fault_point("worker.logged")
        self._let_go(locks, start.kept_locks)
        return outcome

    def close(self) -> None:
        """Let go of all files. The process is what it was again, but for its current directory."""
        self._stdout.forget()
        self._stderr.forget()
        os.close(self._null)
        if self._log is not None:
            self._log.close()
        tree.resign_as_subreaper()

    def _let_go(self, locks: Sequence[int], kept: int) -> None:
        """Unlock all but the last `kept`: those are only closed, unless nobody is left who would unlock them."""
        if kept and self._control.is_supervisor_gone():
            kept = 0
        for place, lock in enumerate(locks):
            if place < len(locks) - kept:
                unlock(lock)
            else:
                os.close(lock)

    def _carry_out(self, start: Start, locks: Sequence[int], workspace: Workspace | None) -> tuple[Verdict, Watch | None]:
        """From the workspace to the end of the tree; no Watch if nothing was started."""
        if self.log_error is not None:
            # An agent that no record leads to could not be found after a kill: it must not start.
            return _not_started("the worker's log cannot be written", self.log_error), None
        try:
            if workspace is not None:
                verdict, watch = self._enter(workspace, start, locks)
                if verdict.attempt_class is not AttemptClass.OK:
                    return verdict, watch
        except CannotStart as error:
            return Verdict(AttemptClass.CANNOT_START, str(error)), None
        except OSError as error:
            return _not_started("the workspace cannot be made", error), None
        return self._run_agent(start, locks)

    def _enter(self, workspace: Workspace, start: Start, locks: Sequence[int]) -> tuple[Verdict, Watch | None]:
        """Have a workspace to work in. Its setup writes to the same captures as the agent, which does not see what it wrote."""
        watch: Watch | None = None

        def set_up(script: str) -> Verdict:
            nonlocal watch
            setup = msgspec.structs.replace(start, argv=["/bin/sh"], script=script, stdin=None, creates=None)
            verdict, watch = self._run_agent(setup, locks)
            if verdict.attempt_class is AttemptClass.OK:
                for capture in (self._stdout, self._stderr):
                    capture.empty()
            return verdict

        return workspace.enter(set_up), watch

    def _run_agent(self, start: Start, locks: Sequence[int]) -> tuple[Verdict, Watch | None]:
        """From the spawn to the end of the tree; no Watch if nothing was started."""
        clock = boot_clock()
        try:
            pid = self._spawn(start, locks)
        except CannotStart as error:
            return Verdict(AttemptClass.CANNOT_START, str(error)), None
        except OSError as error:
            return _not_started("the attempt's files cannot be written", error), None
        # From here on nothing that goes wrong may read as "not started".
        fault_point("worker.spawned")
        self._tell_of_spawn(start, pid, clock)
        if locks:
            # 25 ms, once, for `unlock`: now, while the first agent works, not before it starts nor when it has ended. If it
            # fails, for want of a descriptor, `unlock` will tell.
            with suppress(OSError, ImportError):
                import filelock  # noqa: F401
        watch = Watch(pid, start, self._control, (self._stdout, self._stderr), self._strangers, self._is_subreaper)
        status = watch.run()
        verdict = verdict_of(
            status,
            watch.ended_by,
            timeout_seconds=start.timeout_seconds,
            memory_bytes=start.memory_bytes,
            used_bytes=watch.used_bytes,
        )
        return verdict, watch

    def _append(self, line: LogLine) -> None:
        try:
            if self._log is None:
                self._log = LogWriter(f"{self._folder}/{LOG_NAME}")
            self._log.append(line)
        except OSError as error:
            self.log_error = error

    def _tell_of_spawn(self, start: Start, pid: int, clock_before: int) -> None:
        """If this line cannot be written the agent runs on: the mark in its environment leads to it as well."""
        try:
            ticks = start_ticks_of_child(pid, clock_before)
        except OSError as error:
            self.log_error = error
        else:
            self._append(Spawned(sequence=start.sequence, pid=pid, start_ticks=ticks))

    def _spawn(self, start: Start, locks: Sequence[int]) -> int:
        """The agent's pid. Raises CannotStart, or OSError: our own files cannot be written, or the machine has no room."""
        stdin = self._null
        try:
            argv = start.argv
            if start.stdin is not None:
                stdin = _stdin_file(start.stdin, self._folder)
            if start.script is not None:
                argv = [*argv, _script_file(start.script, self._folder)]
            streams = (stdin, self._stdout.open(), self._stderr.open())
            try:
                os.chdir(start.cwd)
            except OSError as error:
                raise CannotStart(f"cwd {start.cwd}: {error.strerror}") from error
            except ValueError as error:
                raise CannotStart(f"cwd {start.cwd!r}: {error}") from error
            if start.creates is not None:
                creates.clear(start.creates)
            return spawn(start, argv, self._environment, self._ignored, streams, locks)
        finally:
            if stdin != self._null:
                os.close(stdin)


def _workspace(start: Start) -> Workspace | None:
    if start.workspace is None:
        return None
    from workers.workspaces import Workspace  # an import that most attempts have no use for

    return Workspace(start.workspace, start.mark)


def _not_started(what: str, error: OSError) -> Verdict:
    if error.errno in SHORTAGES:
        return Verdict(AttemptClass.SHORTAGE, f"no room on this machine just now: {error.strerror}")
    return Verdict(AttemptClass.STATE_ERROR, f"{what}: {error.strerror}")


def _is_disk_full(folder: str) -> bool:
    """Whether nothing more can be written there. A file system that does not tell its size is not full."""
    found = os.statvfs(folder)
    return found.f_blocks > 0 and (found.f_bfree if os.geteuid() == 0 else found.f_bavail) == 0


def _stdin_file(text: str, folder: str) -> int:
    """A nameless file that holds `text`, at its beginning: however slowly the agent reads, nobody has to feed it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("stdin")
    else:
        path = f"{folder}/stdin"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.unlink(path)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(text.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _script_file(text: str, folder: str) -> str:
    path = f"{folder}/script"
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return path
