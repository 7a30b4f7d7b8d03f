"""Local workers: one process a slot, started when first needed, reused, spoken to over a SEQPACKET socket.

Promise: a worker outlives the supervisor; closing its socket is all it takes to let it go. Invariant: a slot has at most one
worker, and a worker runs at most one attempt; others may be queued behind it (`workers.queue`). It refuses to handle: attempts
whose worker is not ours, or dead (`taken_over`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from orchestrator.engines.deadlines import Deadlines
from orchestrator.engines.engine import (
    AgentTaskOf,
    Attempt,
    EngineEvent,
    Noted,
    OutcomeArrived,
    QueuedBegan,
    QueuedReturned,
    QueueRanLow,
    ReadyWorker,
    earliest,
    grace_of,
    queue_seconds,
)
from orchestrator.engines.kept_descriptors import keep_descriptors
from orchestrator.engines.reaping import exit_code_of, reap_by, reap_later
from orchestrator.engines.taken_over import TakenOver
from orchestrator.engines.worker_ends import end_in_words, lines_of, never_sent, not_begun, shortage
from orchestrator.store.durable_file import unwritable
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.hosted_runs import is_only_run
from orchestrator.system.locks.held import HeldLocks
from orchestrator.workers import channel
from orchestrator.workers.byte_text import encode_message, message_decoder
from orchestrator.workers.files.syncing import make_folder
from orchestrator.workers.halt_word import HALT_WORD_NAME, NO_WORD, HaltWord
from orchestrator.workers.launch import start_worker
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import AttemptClass, End, Ended, EndReason, MoreStarts, Recall, Start, Starts, Told
from orchestrator.workers.warm_process import end_warm_process

GOODBYE_SECONDS = 2.0
"""How long `close` waits for idle workers to be gone, so that nothing of a finished run is seen afterwards."""

MOST_QUEUED = 15
"""Starts behind one that runs. More are sent when half of them have begun: what one wake of the supervisor costs is spread over
eight items, and more would gain little; and the others last until it comes."""

DESCRIPTORS_LOOK_SECONDS = 0.25
"""From one look whether a worker that is there may have a start to the next: each costs three calls of the system."""

_decode: Callable[[bytes], Ended | Told] = message_decoder(Ended | Told)


class _Worker(msgspec.Struct):
    slot: int
    process: WorkerStarted
    connection: socket.socket
    folder: str
    is_prepared: bool
    """It is meant for the next start in its slot, or runs it."""
    given: list[tuple[Attempt, Start]] = []
    """The attempt that it runs, as far as it has told, and those that are queued behind it."""
    shortage: OSError | None = None
    """Why its attempt could not be sent to it."""


class LocalEngine:
    """Workers of one run on this machine. `next_worker`: the number of the first one, never used before in this run."""

    def __init__(self, run_dir: RunDir, next_worker: int, agent_task: AgentTaskOf) -> None:
        self._run_dir = run_dir
        self._next_worker = next_worker
        self._taken_over = TakenOver(run_dir, agent_task)
        self._deadlines = Deadlines(run_dir)
        self._by_slot: dict[int, _Worker] = {}
        self._by_fileno: dict[int, _Worker] = {}
        self._halt_word: HaltWord | None = None
        self._word = NO_WORD
        """What the halt word was at the last look. A change since then may be by a failure of which we have not heard."""
        self._sources: list[int] | None = None
        """What `sources` told last, as long as it is so."""
        self._descriptors_due = 0.0
        """When it is to be seen again whether descriptors are left for a start (monotonic seconds)."""
        self._leaving: list[int] = []
        """The pids of workers that were let go and are not reaped."""
        self._died_idle: dict[int, str] = {}
        """By number the workers that died while nothing was sent to them, and how, in words."""

    most_queued = MOST_QUEUED

    @property
    def next_look(self) -> float | None:
        """See `Engine`."""
        return earliest(self._taken_over.next_look, self._deadlines.next_look)

    def prepare(self, slot: int) -> ReadyWorker:
        """Have `slot` served by the worker that it has, or by an idle one of another slot, which moves, or by a new one.

        Raises OSError (EAGAIN, EMFILE) when no process can be made, or when it would take descriptors that are kept.
        """
        # Where the machine has no room for one more, idle workers would else keep a slot without one from ever working.
        worker = self._by_slot.get(slot) or self._idle()
        # The only worker of a run may have what is kept: else the run could do nothing at all.
        if len(self._by_fileno) > 1 and (worker is None or time.monotonic() >= self._descriptors_due):
            keep_descriptors(next(iter(self._by_fileno)), is_new_worker=worker is None)
            # A worker that is there takes no descriptor more than it has.
            self._descriptors_due = time.monotonic() + DESCRIPTORS_LOOK_SECONDS
        if worker is None:
            worker = self._started(slot)
            return ReadyWorker(worker.process.worker, worker.process)
        worker.is_prepared = True
        if worker.slot != slot:
            del self._by_slot[worker.slot]
            worker.slot = slot
            self._by_slot[slot] = worker
        return ReadyWorker(worker.process.worker, None)

    def start(self, attempt: Attempt, message: Start, locks: HeldLocks, queued: Sequence[tuple[Attempt, Start]] = ()) -> None:
        """Hand over the attempt with its locks, and what is queued. If there is no room for it, `take_in` tells a shortage.

        Raises StateUnwritableError: a large message goes by a file, for which the disk has no room; the halt word cannot be had.
        """
        worker = self._by_slot.get(attempt.slot)
        with locks as lock_fds:
            # It died after it was prepared: its end woke the loop in the very turn that had its work recorded.
            if worker is None or worker.process.worker != attempt.start.worker:
                for other, _ in queued:
                    self._taken_over.tell_not_begun(other, never_sent())
                words = self._died_idle.get(attempt.start.worker, "its worker ended before it was sent")
                self._taken_over.tell_not_begun(attempt, not_begun(self._run_dir, attempt.start.worker, words))
                return
            worker.given = [(attempt, message), *queued]
            self._deadlines.watch(attempt, worker.process, message)
            try:
                self._send(worker, self._encoded(message, queued), lock_fds)
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise unwritable(Path(worker.folder), error) from error
                # The worker exits now, having begun nothing, and its end wakes the loop.
                worker.shortage = error
                worker.connection.shutdown(socket.SHUT_RDWR)

    def queue(self, slot: int, queued: Sequence[tuple[Attempt, Start]], locks: HeldLocks) -> None:
        """See `Engine`."""
        worker = self._by_slot.get(slot)
        if worker is not None and worker.given and worker.shortage is None:
            more = MoreStarts(starts=[message for _, message in queued], word=self._known_word(), seconds=queue_seconds())
            try:
                with locks as lock_fds:
                    self._send(worker, encode_message(more), lock_fds)
                worker.given = [*worker.given, *queued]
                return
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise unwritable(Path(worker.folder), error) from error
        # The worker has become idle, or has died, or there is no room for the message just now.
        for attempt, _ in queued:
            self._taken_over.tell_not_begun(attempt, never_sent())

    def recall(self) -> None:
        """See `Engine`."""
        for worker in self._by_slot.values():
            if len(worker.given) > 1:
                self._send(worker, encode_message(Recall()), ())

    def end(self, attempt: Attempt, reason: EndReason, grace_at_most: float | None) -> None:
        """Have the attempt ended, whoever runs it."""
        if self._taken_over.try_end(attempt, reason, grace_at_most):
            return
        worker = self._by_slot.get(attempt.slot)
        # One that has died meanwhile is told by its socket.
        if worker is not None:
            grace = grace_of(attempt, grace_at_most)
            self._send(worker, encode_message(End(sequence=attempt.start.sequence, reason=reason, grace_seconds=grace)), ())
            for each, message in worker.given[1:]:
                # It may have begun meanwhile, which nobody has told.
                if each is attempt:
                    self._deadlines.watch(attempt, worker.process, message)
            self._deadlines.expect_end(attempt, reason, grace)
            # One that is stopped, by whomever, would never read it. It is our child and not reaped, so no other has its number;
            # unless the program around us reaps children that are not its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.process.pid, signal.SIGCONT)

    def resume(self, attempt: Attempt, worker: WorkerStarted | None) -> list[EngineEvent]:
        """See `Engine`."""
        self._sources = None
        return self._taken_over.resume(attempt, worker)

    def has_living_worker(self, slot: int) -> bool:
        """See `Engine`."""
        return not self._taken_over.is_dead(slot)

    def sources(self) -> Sequence[int]:
        """The sockets of all workers, and what tells of attempts that were taken over."""
        # Before the sockets are read: whoever changes the word after this has it told in this turn, or nothing queued begins.
        if self._halt_word is not None:
            self._word = self._halt_word.read()
        if self._sources is not None:
            return self._sources
        sources = [*self._by_fileno, *self._taken_over.sources()]
        # Of adopted workers nobody tells here that one is gone.
        if not self._taken_over.has_adopted:
            self._sources = sources
        return sources

    def take_in(self, fileno: int) -> list[EngineEvent]:
        """Read one message of the worker behind `fileno`, or what is told of attempts that were taken over."""
        worker = self._by_fileno.get(fileno)
        if worker is None:
            return self._taken_over.take_in(fileno)
        # The end of the file is the end of the worker, whatever ended it.
        received = channel.receive(worker.connection)
        if received is None:
            return self._bury(worker)
        told = _decode(received[0])
        if isinstance(told, Ended):
            told = Told(ended=[told], running=None, returned=[])
        return self._heard(worker, told)

    def look_at_workers(self, now: float) -> list[EngineEvent]:
        """See `Engine`."""
        return [*self._taken_over.look_at_workers(now), *self._deadlines.look(now)]

    def let_idle_go(self) -> None:
        """See `Engine`."""
        for worker in [each for each in self._by_slot.values() if not each.given]:
            self._forget(worker)
            self._leaving.append(worker.process.pid)
        # No other run of this process may need it.
        if is_only_run():
            end_warm_process()

    def close(self) -> None:
        """Let all workers go. Idle ones are gone when this returns, the others when their attempt has ended."""
        self.let_idle_go()
        for worker in self._by_slot.values():
            worker.connection.close()
            reap_later(worker.process.pid)
        deadline = time.monotonic() + GOODBYE_SECONDS
        for pid in self._leaving:
            reap_by(pid, deadline)
        self._leaving.clear()
        self._by_slot.clear()
        self._by_fileno.clear()
        self._sources = None
        if self._halt_word is not None:
            self._halt_word.close()
        self._taken_over.close()

    def _encoded(self, message: Start, queued: Sequence[tuple[Attempt, Start]]) -> bytes:
        if not queued:
            return encode_message(message)
        starts = [message, *(each for _, each in queued)]
        return encode_message(Starts(starts=starts, word=self._known_word(), seconds=queue_seconds()))

    def _known_word(self) -> bytes:
        """The halt word as it was at the last look. One that was changed before the first look gives back what is queued now:
        from the next turn on it is known.
        """
        if self._halt_word is None:
            self._halt_word = HaltWord(str(self._run_dir.worker_folder(0).parent / HALT_WORD_NAME))
        return self._word

    def _heard(self, worker: _Worker, told: Told) -> list[EngineEvent]:
        """What a worker told: the trees of what has ended are gone, and if nothing runs on, its locks are free."""
        over = {*told.returned, *(ended.sequence for ended in told.ended)}
        for attempt, _ in worker.given:
            if attempt.start.sequence in over:
                self._deadlines.forget(attempt)
        left = worker.given = [each for each in worker.given if each[0].start.sequence not in over]
        events: list[EngineEvent] = [*map(QueuedReturned, told.returned)]
        events += [OutcomeArrived(worker.slot, ended.sequence, ended.outcome) for ended in told.ended]
        if told.running is not None:
            # It runs while those before it are told, or for longer than others wait for it.
            if told.ended:
                events.append(QueuedBegan(told.running))
                self._deadlines.watch(left[0][0], worker.process, left[0][1])
            if told.is_low:
                events.append(QueueRanLow(told.running))
            return events
        # They were sent before this was read: they begin now, or are about to be given back.
        if left:
            return events
        # Its last word: it may have the next attempt.
        worker.is_prepared = False
        if told.ended and told.ended[-1].outcome.attempt_class is AttemptClass.SHORTAGE:
            # Idle workers may be what the machine has no room for: sixteen of them would keep each other from ever working.
            self._forget(worker)
            reap_by(worker.process.pid, time.monotonic() + GOODBYE_SECONDS)
        return events

    def _started(self, slot: int) -> _Worker:
        folder = self._run_dir.worker_folder(self._next_worker)
        make_folder(str(folder), str(self._run_dir.path), is_synced=False)
        pid, connection = start_worker(str(folder))
        try:
            ticks = start_ticks(pid)
        except OSError:
            connection.close()
            os.waitpid(pid, 0)
            raise
        assert ticks is not None, "a child that was not reaped has start ticks"
        process = WorkerStarted(worker=self._next_worker, pid=pid, start_ticks=ticks, boot_id=boot_id())
        # Only now: one that could not be made is recorded by nobody, and its number is free.
        self._next_worker += 1
        worker = _Worker(slot=slot, process=process, connection=connection, folder=str(folder), is_prepared=True)
        self._by_slot[slot] = worker
        self._by_fileno[connection.fileno()] = worker
        self._sources = None
        return worker

    def _idle(self) -> _Worker | None:
        return next((worker for worker in self._by_slot.values() if not worker.is_prepared), None)

    def _send(self, worker: _Worker, message: bytes, lock_fds: Sequence[int]) -> None:
        try:
            channel.send(worker.connection, message, lock_fds, folder=worker.folder)
        except (BrokenPipeError, ConnectionResetError):
            return  # a worker that died is told by `take_in`: its socket is readable now

    def _forget(self, worker: _Worker) -> None:
        """Let go of a worker: it exits, if it has not yet."""
        del self._by_slot[worker.slot]
        del self._by_fileno[worker.connection.fileno()]
        self._sources = None
        worker.connection.close()

    def _bury(self, worker: _Worker) -> list[EngineEvent]:
        """It is gone. What it had not begun is no loss, by whatever it died: that is told as it is, and tried again."""
        self._forget(worker)
        number = worker.process.worker
        words = end_in_words(self._run_dir, number, exit_code_of(worker.process.pid))
        if not worker.given:
            self._died_idle[number] = words
            return [Noted(words)]
        attempt = worker.given[0][0]
        overdues = [self._deadlines.forget(each) for each, _ in worker.given]
        overdue = next((each for each in overdues if each is not None), None)
        if worker.shortage is not None:
            outcome = shortage(worker.shortage)
            arrived = OutcomeArrived(worker.slot, attempt.start.sequence, outcome)
            returned = [QueuedReturned(each.start.sequence) for each, _ in worker.given[1:]]
            return [*returned, arrived, Noted(f"worker {number}: {outcome.message}")]
        unbegun = [each for each, _ in worker.given if lines_of(self._run_dir, number, each.start.sequence) == []]
        events: list[EngineEvent] = [QueuedReturned(each.start.sequence) for each in unbegun if each is not attempt]
        if attempt in unbegun:
            outcome = not_begun(self._run_dir, number, words)
            return [*events, OutcomeArrived(worker.slot, attempt.start.sequence, outcome)]
        events.append(Noted(words))
        for each, _ in worker.given:
            if each not in unbegun:
                events += self._taken_over.worker_died(each, words, overdue)
        return events
