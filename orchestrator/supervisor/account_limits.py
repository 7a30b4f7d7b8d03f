"""What the ends of attempts tell of their accounts: parks are written down for all runs, and people hear how one is spared.

Promise: a usage limit stands in the file before the core hears of it, so whoever is started next, here or elsewhere, meets it.
It refuses to handle: when an account is tried again (`core.throttle`, `core.parking`, `limits`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from orchestrator.attempts.agent.fallback import accounts_of_job
from orchestrator.attempts.agent.work import finder
from orchestrator.attempts.flight import Flight
from orchestrator.core.events import Verdict
from orchestrator.jobsfile.model import JobsFile
from orchestrator.shared.limits.park import Park
from orchestrator.shared.limits.parks import Parks
from orchestrator.shared.limits.trials import Parked
from orchestrator.supervisor.resources import MissingResources
from orchestrator.supervisor.run import Run
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.protocol import AttemptClass, Outcome

_ANSWERED = frozenset(
    {
        *(AttemptClass.OK, AttemptClass.CHECK_FAILED, AttemptClass.BAD_OUTPUT, AttemptClass.CREATES_MISSING),
        *(AttemptClass.TURNS, AttemptClass.DENIED),
    }
)
"""Classes of attempts whose model has worked: their account has no limit just now."""


class AccountLimits:
    """Of one run."""

    def __init__(self, run: Run, parks: Parks, missing: MissingResources) -> None:
        self._run = run
        self._parks = parks
        self._missing = missing
        self._parked: dict[str, Park] = {}
        self._throttles: dict[str, int] = {}
        self._refusals: dict[str, str] = {}
        """By account, what the last attempt said that was throttled."""
        self._spared: dict[str, tuple[str, float | None]] = {}
        """What people have been told of each account."""

    def ended(self, flight: Flight, outcome: Outcome, verdict: Verdict) -> float | None:
        """Take in the end of an attempt. Returns before when (monotonic seconds) its account takes no more, if that is known.

        Raises StateUnwritableError.
        """
        account = flight.start.account
        resets_at = outcome.agent.resets_at if outcome.agent is not None else None
        if account is None:
            return None if resets_at is None else _monotonic(resets_at)
        if verdict is Verdict.THROTTLED:
            self._refusals[account] = f"{flight.name}: {outcome.message}"
        if verdict is Verdict.PARKED:
            return self._park(flight, account, outcome)
        if outcome.attempt_class in _ANSWERED and self._parks.clear_park(account, flight.start.at):
            self._run.tell.note(f"the usage limit of {account} is over")
        return _monotonic(resets_at) if verdict is Verdict.THROTTLED and resets_at is not None else None

    def tell_changes(self, now: float) -> None:
        """Tell people of accounts that are spared in another way than at the last look."""
        for name in self._run.core.accounts:
            how = self._run.core.spared(name)
            if how != self._spared.get(name, ("", None)):
                self._spared[name] = how
                self._run.tell.spares(name, *how)
            throttles = self._run.core.throttle_count(name)
            if throttles != self._throttles.get(name, 0):
                self._throttles[name] = throttles
                self._run.tell.note(f"rate limit of {name}: {self._run.core.why_few(name, now)} ({self._refusals.get(name, '')})")

    def _park(self, flight: Flight, account: str, outcome: Outcome) -> float:
        report = outcome.agent
        resets_at, source = (None, None) if report is None else (report.resets_at, report.reset_source)
        # An outcome that waited in a worker's log for a resume tells of a limit that is over, perhaps.
        told_by = f"{self._run.id}/{flight.name}"  # others read which item was told
        park = self._parks.tell_limit(account, resets_at, told_by, source=source, reached_at=outcome.finished_at)
        fault_point("supervisor.parked")
        left = self._parks.seconds_left(park)
        parked = Parked(park, left)
        if self._parked.get(account) != park:
            self._parked[account] = park
            self._run.tell.note(parked.words)
        if left > 0:
            self._missing.watch_account(account, parked)
        return time.monotonic() + left


def accounts_of(jobs_file: JobsFile, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """By job id the accounts that its items may use, of the jobs of which that is known before they are rendered."""
    find = finder(jobs_file)
    return {job.id: accounts_of_job(job, jobs_file.run.env, find, environ) for job in jobs_file.jobs if job.is_agent}


def _monotonic(when: float) -> float:
    """A time since the epoch by the monotonic clock."""
    return time.monotonic() + when - time.time()
