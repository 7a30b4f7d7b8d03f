"""Tells people what attempts have cost, and of budgets that bound nothing because an agent does not tell what it costs."""

from __future__ import annotations

from functools import partial

from orchestrator.core.budget import Unit, mute_jobs
from orchestrator.core.states import RunState
from orchestrator.jobsfile.model import Job
from orchestrator.money.costs import cost_of_attempt, dollars, is_paid
from orchestrator.money.ledger import ledger_of
from orchestrator.narrator import Narrator
from orchestrator.recording import Recorder
from orchestrator.store.fold import RunHistory
from workers.protocol import Outcome

_MUTE: dict[Unit, str] = {
    "nano_usd": "its agent tells no costs, so budget_usd cannot bound it: budget_tokens can, or estimate_usd, as what each costs",
    "tokens": "its agent tells no tokens, so budget_tokens cannot bound it: budget_usd can, with estimate_usd as what each costs",
}


class Charges:
    """Of one run. What is told is recorded already."""

    def __init__(self, history: RunHistory, state: RunState, recorder: Recorder, narrator: Narrator) -> None:
        self._history = history
        self._state = state
        self._recorder = recorder
        self._narrator = narrator
        self._warned: set[tuple[str, Unit]] = set()

    def begin(self) -> None:
        """Tell what the run has cost under the supervisors before, if agents were at work."""
        ledger = ledger_of(self._history)
        if not ledger.is_empty:
            self._narrator.charged(None, None, None, ledger)

    def attempt_ended(self, name: str, job: Job, outcome: Outcome) -> None:
        """An attempt of an item of an agent job has ended, and is about to be recorded."""
        if is_paid(outcome, job.id):
            self._recorder.then(partial(self._tell, name, job.id, dollars(cost_of_attempt(outcome))))

    def _tell(self, name: str, job_id: str, cost_usd: float | None) -> None:
        self._narrator.charged(name, job_id, cost_usd, ledger_of(self._history))
        for job, unit in mute_jobs(self._state):
            if (job.rules.id, unit) not in self._warned:
                self._warned.add((job.rules.id, unit))
                self._narrator.note(f"{job.rules.id}: {_MUTE[unit]}")
