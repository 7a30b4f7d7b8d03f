"""Whether the holder of a token lives; if it is dead, what it left behind, and ending that.

A holder lives as long as its supervisor does (the session that wrote the record, with the run's lock), or the worker that runs
the attempt (by its liveness lock). The lock of the token proves neither life nor death: an agent may have shed the descriptor,
or may have outlived supervisor and worker.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.jobsfile.answer_schema import schema_in
from orchestrator.shared.tokens.record import Holder, TokenRecord
from orchestrator.store.load import read_history
from orchestrator.store.outcomes import with_answer_checked, with_output_checked
from orchestrator.store.records import Status
from orchestrator.store.run_dir import RunDir
from orchestrator.system.fence import log_fenced, passes_fence
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.log import LOG_NAME, find_log, read_log
from orchestrator.workers.processes.identity import boot_id, is_same_process
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME, AttemptClass, Begun, Ended, LogLine, Outcome, Spawned

END_GRACE_SECONDS = 5.0
"""How long the orphans of a dead holder have to end after SIGTERM. The grace of its job is gone with its supervisor."""

SUCCESSOR_SECONDS = 30.0
"""How long a token that was taken away for an item is kept for that item."""


class Holders:
    """The holders of the tokens of one home.

    `own`: run and session of the desk that asks. An earlier session of its run is over, even if it was this very process.
    `is_one_look`: each session is looked at once; for an instance that lives no longer than one look at many tokens.
    """

    def __init__(self, home: Path, *, own: tuple[str, str] | None = None, is_one_look: bool = False) -> None:
        self._home = home
        self._own = own
        self._is_one_look = is_one_look
        self._seen: dict[tuple[str, int, int, str], bool] = {}

    def lives(self, holder: Holder) -> bool:
        """Whether a supervisor or a worker is there that will tell what came of the work."""
        return self.has_session(holder) or self._has_worker(holder)

    def has_session(self, holder: Holder) -> bool:
        """Whether the supervisor that holds the token lives."""
        if self._own is not None and holder.run_id == self._own[0]:
            return holder.session == self._own[1]
        session = (holder.run_id, holder.pid, holder.start_ticks, holder.boot_id)
        lives = self._seen.get(session)
        if lives is None:
            lives = is_same_process(*session[1:]) and is_locked(self._run_dir(holder.run_id).supervisor_lock)
            if self._is_one_look:
                self._seen[session] = lives
        return lives

    def is_kept_for_another(self, record: TokenRecord, me: str) -> bool:
        """Whether the token was taken away for another item than `me` (`RUN/ITEM`), which may still come for it."""
        successor = record.replaced_by
        if record.state != "released" or successor in (None, me) or record.age >= SUCCESSOR_SECONDS:
            return False
        return is_locked(self._run_dir(successor.partition("/")[0]).supervisor_lock)

    def pids(self, holder: Holder) -> list[int]:
        """The processes that do the work, as far as they live: the supervisor, the agent."""
        spawned = [(line.pid, line.start_ticks, line.ticks_more) for line in self._lines(holder) if isinstance(line, Spawned)]
        found = [(holder.pid, holder.start_ticks, 0), *spawned]
        return [pid for pid, ticks, more in found if is_same_process(pid, ticks, holder.boot_id, more)]

    def left_verdict(self, record: TokenRecord) -> tuple[Outcome, bool] | None:
        """The outcome that a dead holder came to without publishing it, and whether it is a success; None if there is none.

        A success counts wherever it stands, because paid work is not paid for twice. A failure counts only if the holder's run
        has recorded it as final.
        """
        holder = record.holder
        outcome = next((line.outcome for line in self._lines(holder) if isinstance(line, Ended)), None)
        if outcome is not None and not record.is_loop:
            # In the worker's log: no supervisor has read it yet, so it is checked first. A round's end is not the work's end.
            try:
                outcome = self._read(outcome, record)
            except Exception as error:
                if passes_fence(error):
                    raise
                # Nobody can say what it came to, so it is no verdict: its own run comes to the same, or the work is done again.
                log_fenced(self._run_dir(holder.run_id).log, f"{holder.words}: what it left could not be judged", error)
                return None
            if outcome.attempt_class is AttemptClass.OK:
                return outcome, True
        # In the journal of the holder's run.
        try:
            past = read_history(self._run_dir(holder.run_id)).jobs.get(holder.job)
            ended = past.last_end(holder.index) if past is not None else None
        except (UserError, FileNotFoundError):
            return None  # that run was removed, or cannot be read
        if past is None or ended is None or ended.status is not past.status(holder.index) or ended.deduped_from is not None:
            return None
        # Only of this very attempt, and only as the last word: a failure that will be tried again is no verdict.
        is_it = (ended.token, ended.payload, ended.attempt) == (record.token, record.payload, holder.attempt)
        is_final = ended.status in (Status.SUCCEEDED, Status.FAILED)
        return (ended.outcome, ended.status is Status.SUCCEEDED) if is_it and is_final else None

    def _read(self, outcome: Outcome, record: TokenRecord) -> Outcome:
        """The outcome as the holder's supervisor would have read it."""
        run_dir, schema = self._run_dir(record.holder.run_id), record.schema
        outcome = with_output_checked(outcome, record.output, run_dir)
        if schema is None:
            return outcome
        return with_answer_checked(outcome, record.output, run_dir, lambda: schema_in(schema, record.holder.words))

    def may_have_left_processes(self, holder: Holder) -> bool:
        """Whether the attempt was begun, in this boot, and its tree was never confirmed ended."""
        if holder.boot_id != boot_id():
            return False
        if find_log(self._log_path(holder)) is None:
            # Somebody has removed or emptied the log, so it may have begun. Not so of a run that was removed whole. One that is
            # supervised again has its next attempts under the same mark, and ends itself what it had started.
            run_dir = self._run_dir(holder.run_id)
            return run_dir.exists and not is_locked(run_dir.supervisor_lock)
        lines = self._lines(holder)
        has_begun = any(isinstance(line, Begun) for line in lines)
        return has_begun and not any(isinstance(line, Ended) for line in lines)

    def end_processes(self, holder: Holder) -> None:
        """End what a dead holder left: SIGTERM, some seconds, SIGKILL; all is gone on return. Blocks: not for the loop."""
        from orchestrator.workers.processes.dead_tree import end_tree_of_dead_worker

        end_tree_of_dead_worker(
            self._lines(holder), mark=holder.mark, grace_seconds=END_GRACE_SECONDS, folder=str(self._folder(holder))
        )

    def _has_worker(self, holder: Holder) -> bool:
        if holder.boot_id != boot_id() or not is_locked(self._folder(holder) / LIVENESS_LOCK_NAME):
            return False
        lines = self._log(holder)
        # An attempt that has not begun may be on its way to the worker, unless the worker is further already. Without a
        # supervisor the worker ends soon, and then the answer is no.
        if _is_of_another(lines, holder) or any(line.sequence > holder.sequence for line in lines):
            return False
        return not any(isinstance(line, Ended) and line.sequence == holder.sequence for line in lines)

    def _lines(self, holder: Holder) -> list[LogLine]:
        """What its worker has logged of its attempt."""
        lines = self._log(holder)
        return [] if _is_of_another(lines, holder) else [line for line in lines if line.sequence == holder.sequence]

    def _log(self, holder: Holder) -> list[LogLine]:
        return read_log(self._log_path(holder))

    def _log_path(self, holder: Holder) -> str:
        return str(self._folder(holder) / LOG_NAME)

    def _run_dir(self, run_id: str) -> RunDir:
        return RunDir.of(self._home, run_id)

    def _folder(self, holder: Holder) -> Path:
        return self._run_dir(holder.run_id).worker_folder(holder.worker)


def _is_of_another(lines: list[LogLine], holder: Holder) -> bool:
    """Whether another attempt has the holder's sequence in this log.

    A supervisor that was killed between its note in the token and its start in the journal has started nothing. The next session
    gives the same worker and sequence to its first start, whose outcome and processes are not the token's.
    """
    return any(isinstance(line, Begun) and line.sequence == holder.sequence and line.mark != holder.mark for line in lines)
