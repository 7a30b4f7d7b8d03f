"""A run that is a replay: its agents' attempts are played as a capsule recorded them; all else is as in any other run.

Promise: no agent is started, nothing is paid, and nothing that agents of other runs share (limits of accounts, pools, tokens)
is touched: what is played says nothing of today.
"""

from __future__ import annotations

import msgspec

from orchestrator.attempts.agent.fallback import Choose
from orchestrator.attempts.rendering import Prepared
from orchestrator.attempts.replay.archive import CapsuleAttempt
from orchestrator.attempts.replay.asked import compared, places_of
from orchestrator.attempts.replay.recorded import NotRecordedError, Recorded
from orchestrator.attempts.replay.started_player import recorded_choice, started_instead, taken_over
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.errors import UserError
from orchestrator.jobsfile.model import Job, JobsFile, Retry, WorkflowAction
from orchestrator.reading.run_records import Records
from orchestrator.system.redaction import of_this_process
from orchestrator.workers.foreign import ForeignBytesError
from orchestrator.workers.protocol import Outcome, Start


class Replay:
    """Of one run. `folder`: of its jobs file. Raises UserError if its capsule cannot be read."""

    def __init__(self, records: Records, folder: str) -> None:
        self._records = records
        self._folder = records.run_dir.capsule
        try:
            self._recorded = Recorded(self._folder)
        except (OSError, ForeignBytesError) as error:
            raise UserError(
                f"run {records.run_dir.run_id} is a replay, and its capsule cannot be read: {error}", "replay the archive again"
            ) from error
        # Where a prompt has the name of the recorded run as a word of its own, that was named, too.
        self.places = {
            **places_of(records.run_dir, records.history.header.run_id, folder),
            self._recorded.run_id: "run id",
        }

    def choice(self, job: Job, index: int) -> Choose:
        """Which agent the item's next attempt is of."""
        return recorded_choice(self._recorded, job.id, index, self._played(job, index))

    def instead(self, prepared: Prepared, job: Job, index: int) -> Prepared:
        """The attempt, with what is played for it. Raises ItemRefused if nothing was recorded that it could be."""
        assert prepared.agent is not None
        asked = compared(prepared.agent.asked, self.places, of_this_process())
        try:
            played = self._recorded.attempt(job.id, index, self._played(job, index), asked)
        except NotRecordedError as missing:
            raise ItemRefused(str(missing)) from missing
        # Other runs must not take what is played for work that was done, nor this one theirs.
        token = None if prepared.token is None else f"replay {self._records.run_dir.run_id}: {prepared.token}"
        return msgspec.structs.replace(prepared, played=played, token=token)

    def start(self, start: Start, played: CapsuleAttempt) -> Start:
        """What the worker gets."""
        return started_instead(start, played, self._folder)

    def took(self, played: tuple[int, int], job: str, outcome: Outcome) -> Outcome:
        """The outcome of an attempt for which `played` (index, attempt) was played."""
        return taken_over(self._recorded.find(job, *played), outcome)

    def _played(self, job: Job, index: int) -> int:
        """How many recorded attempts the item has behind it."""
        ended = self._records.history.jobs[job.id].last_end(index)
        return ended.spent.replayed if ended is not None and ended.spent is not None else 0


def as_replayed(jobs_file: JobsFile) -> JobsFile:
    """The file as it is replayed: an agent's attempt waits for no pool, and its next one for nothing that is long over.

    Raises UserError as `check_replay` does.
    """
    check_replay(jobs_file)
    jobs = [msgspec.structs.replace(job, retry=Retry(delay=0.0), pool=None) if job.is_agent else job for job in jobs_file.jobs]
    return msgspec.structs.replace(jobs_file, jobs=type(jobs_file.jobs)(jobs))


def check_replay(jobs_file: JobsFile) -> None:
    """Raise UserError if the file cannot be replayed: what child runs did is not in a capsule, and must not be paid again."""
    child = next((job.id for job in jobs_file.jobs if isinstance(job.action, WorkflowAction)), None)
    if child is not None:
        raise UserError(
            f"jobs.{child}: runs a child file, and a capsule holds no child runs",
            "replay the child file by itself, or leave it out",
        )
