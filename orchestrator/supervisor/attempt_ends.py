"""What the end of an attempt means: its outcome, looked at step by step, becomes a verdict for the core.

Promise: each attempt that ended is told to the core once, with what is recorded of it parked in `Settlements`; whatever its item
wrote, and whatever of ours goes wrong with that, is the end of this attempt alone (`system.fence`). An answer is held against its
schema beside the loop, and till then its attempt is a flight that is over (`judgements`). Invariant: a step makes an
outcome worse or leaves its class; only a loop that asks for the exit code takes a failed command for a success.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orchestrator.attempts.agent.answers import AgentEnds, verdict_on
from orchestrator.attempts.child_runs import ChildRuns
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.loops import Loops, as_round
from orchestrator.attempts.preparer import Preparer
from orchestrator.attempts.workspaces.notes import WorkspaceNotes
from orchestrator.core.costs import Cost
from orchestrator.core.events import AttemptEnded, ChildAnswered, Verdict
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import Job, LandAction
from orchestrator.store.outcomes import verdict_of, with_output_checked
from orchestrator.store.spending_records import Spent
from orchestrator.supervisor.account_limits import AccountLimits
from orchestrator.supervisor.charges import cost_with, spent_with
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.judgements import Judgements
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.settlements import Settlements
from orchestrator.system.fence import passes_fence
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome

Step = Callable[[Flight, Outcome], Outcome]


class Means(msgspec.Struct, frozen=True):
    """How outcomes of this run are judged, by the parts of `attempts` that know their kinds."""

    children: ChildRuns
    preparer: Preparer
    agent_ends: AgentEnds
    loops: Loops


class Meaning(msgspec.Struct, frozen=True):
    """What an attempt came to. `is_round`: and with it a round of its loop ended."""

    outcome: Outcome
    verdict: Verdict
    is_round: bool


class Said(msgspec.Struct, frozen=True):
    """What an attempt says of itself (`told`), and that once its output was looked at; its answer is not judged yet."""

    told: Outcome
    outcome: Outcome


class AttemptEnds:
    """Of one run. `job_ids` are those of which an attempt ended under this supervisor."""

    def __init__(
        self,
        run: Run,
        means: Means,
        settlements: Settlements,
        limits: AccountLimits,
        flights: Flights,
        judgements: Judgements,
    ) -> None:
        self._run = run
        self._children = means.children
        self._preparer = means.preparer
        self._agent_ends = means.agent_ends
        self._loops = means.loops
        self._settlements = settlements
        self._limits = limits
        self._flights = flights
        self._judgements = judgements
        self._judging: dict[int, tuple[Flight, Said]] = {}
        """By sequence the attempts whose answers are being held against their schemas."""
        self._workspace_notes = WorkspaceNotes(str(run.dir.workspaces), run.tell.note)
        self.job_ids: set[str] = set()
        self._steps: dict[str, tuple[tuple[Step, ...], tuple[Step, ...]]] = {}
        """By job id what is done with its outcomes."""

    def take_in(self, flight: Flight, outcome: Outcome) -> None:
        """Tell the core what the end of this attempt means, at once or once its answer is judged.

        Raises StateUnwritableError if its worker could not write.
        """
        if outcome.attempt_class is AttemptClass.STATE_ERROR:
            message = f"{flight.name}: {outcome.message}"
            raise StateUnwritableError(message, "mend that, then resume the run: what is recorded stays")
        if outcome.bug:
            # The bug was met where there is no log that anybody reads.
            self._run.tell.fenced(f"{flight.name}: judged by its worker", outcome.bug)
            outcome = msgspec.structs.replace(outcome, bug="")
        try:
            said = self._said(flight, outcome)
            judge = self._agent_ends.judge_of(flight, said.outcome) if flight.job.schema is not None else None
            if judge is not None:
                # The loop goes on meanwhile: what comes of it is heard of in `judged`.
                self._judgements.begin(flight.start.sequence, judge)
                self._judging[flight.start.sequence] = flight, said
                return
            meaning = self._meaning(flight, said)
        except Exception as error:
            if passes_fence(error):
                raise
            meaning = self._unjudged(flight, outcome, error)
        self._end(flight, meaning)

    def judged(self, sequence: int, told: bytes | None) -> None:
        """The answer of the attempt `sequence` was held against its schema; `told` as of `AgentEnds.as_judged`."""
        flight, said = self._judging.pop(sequence)
        try:
            meaning = self._meaning(flight, Said(said.told, self._agent_ends.as_judged(said.outcome, told)))
        except Exception as error:
            if passes_fence(error):
                raise
            meaning = self._unjudged(flight, said.outcome, error)
        self._end(flight, meaning)

    def _end(self, flight: Flight, meaning: Meaning) -> None:
        meaning, spent, cost = self._with_costs(flight, meaning)
        outcome, verdict = meaning.outcome, meaning.verdict
        self._flights.leave(flight)
        fault_point("supervisor.outcome")
        self._settlements.ended(flight, outcome, is_round=meaning.is_round, spent=spent)
        self.job_ids.add(flight.job.id)
        # A usage limit stands in its file before the core starts the next item.
        until = self._limits.ended(flight, outcome, verdict)
        self._run.happened(AttemptEnded(flight.item, verdict, until, cost=cost))
        if verdict is Verdict.PAUSED and self._children.is_answered_since(flight, outcome):
            self._run.happened(ChildAnswered(flight.item))

    def _with_costs(self, flight: Flight, meaning: Meaning) -> tuple[Meaning, Spent | None, Cost | None]:
        """What the attempt came to, and with it its item has cost. Raises UserError for what concerns the whole run."""
        # Reckoned before its end is recorded, from the ends before.
        try:
            return meaning, *self._reckon(flight, meaning.outcome)
        except Exception as error:
            if passes_fence(error):
                raise
            # What cannot be reckoned is unknown, and never nothing.
            meaning = self._unjudged(flight, _without_numbers(meaning.outcome), error)
            return meaning, *self._reckon(flight, meaning.outcome)

    def _reckon(self, flight: Flight, outcome: Outcome) -> tuple[Spent | None, Cost | None]:
        start = flight.start
        # A command of an item for which no agent has ever worked costs nothing, whatever comes of it.
        is_command = start.agent is None and outcome.agent is None and not start.child
        if is_command and not self._run.history.jobs[start.job].spending.is_known(start.index):
            return None, None
        spent = spent_with(self._run.reader, flight, outcome)
        return spent, cost_with(flight, outcome, spent)

    def _unjudged(self, flight: Flight, outcome: Outcome, error: Exception) -> Meaning:
        words = self._run.tell.fenced(f"{flight.name}: its end could not be judged", error)
        failed = {"attempt_class": AttemptClass.PROTOCOL_ERROR, "message": f"its end could not be judged: {words}"}
        return Meaning(msgspec.structs.replace(outcome, **failed), Verdict.FAILED, is_round=False)

    def _said(self, flight: Flight, outcome: Outcome) -> Said:
        """The outcome after all steps but those that may take long."""
        telling, checking = self._steps.get(flight.job.id) or self._steps_of(flight.job)
        if flight.start.child:
            outcome = self._child_run_ended(flight, outcome)
        if outcome.workspace is not None:
            self._workspace_notes.note_report(flight.name, outcome.workspace)
        for step in telling:
            outcome = step(flight, outcome)
        told = outcome
        for step in checking:
            outcome = step(flight, outcome)
        return Said(told, outcome)

    def _meaning(self, flight: Flight, said: Said) -> Meaning:
        """The outcome of which nothing is left to be looked at, and the verdict on it."""
        told, outcome = said.told, said.outcome
        verdict = verdict_of(outcome, flight.asked_end)
        if told.agent is not None:
            verdict = verdict_on(told, outcome, verdict)
        # The last step, for a loop's condition is asked of a round that did what it should.
        is_round = flight.job.repeat is not None and verdict is Verdict.SUCCEEDED
        if is_round:
            outcome, verdict = self._loops.round_ended(flight, outcome)
        return Meaning(outcome, verdict, is_round)

    def _steps_of(self, job: Job) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """The steps that concern outcomes of this job, in their order: one step less is one call less for each of its items."""
        # What the attempt says of itself, with what is known of its kind. The exit code comes last: it is data for a loop only if
        # no child run, landing or replay explains it.
        telling: dict[Step, bool] = {
            self._landed: isinstance(job.action, LandAction),
            self._played: self._preparer.replay is not None,
            self._session_carried_over: job.is_agent,
            self._unproven_carried_over: job.creates is not None,
            _exit_code_as_data: job.repeat is not None,
        }
        # What it says is looked at: a success without the output that the job promises is none.
        checking: dict[Step, bool] = {self._output_checked: job.output != "text"}
        steps = self._steps[job.id] = _concerning(telling), _concerning(checking)
        return steps

    def _child_run_ended(self, flight: Flight, outcome: Outcome) -> Outcome:
        """The exit code of a child run's supervisor, in the words of that run."""
        outcome = self._children.read_end(flight, outcome)
        if outcome.attempt_class is AttemptClass.PAUSED:
            self._run.tell.child_paused(flight, outcome.message, self._children.questions_of(flight))
        return outcome

    def _landed(self, _flight: Flight, outcome: Outcome) -> Outcome:
        from orchestrator.attempts.workspaces.landing_outcome import landing_told

        return landing_told(outcome, self._run.dir)

    def _played(self, flight: Flight, outcome: Outcome) -> Outcome:
        """In a replay the outcome that was recorded, as far as it can be played."""
        return self._preparer.outcome_as_played(flight.start, outcome)

    def _session_carried_over(self, flight: Flight, outcome: Outcome) -> Outcome:
        return self._agent_ends.carry_session_over(flight, outcome)

    def _unproven_carried_over(self, flight: Flight, outcome: Outcome) -> Outcome:
        """A lost attempt takes nothing back of what was known before it: nobody saw what it has left."""
        if outcome.attempt_class is not AttemptClass.LOST:
            return outcome
        before = self._run.history.jobs[flight.job.id].last_end(flight.item[1])
        return outcome if before is None else msgspec.structs.replace(outcome, unproven=before.outcome.unproven)

    def _output_checked(self, flight: Flight, outcome: Outcome) -> Outcome:
        return with_output_checked(outcome, flight.job.output, self._run.dir)


def _concerning(steps: dict[Step, bool]) -> tuple[Step, ...]:
    return tuple(step for step, concerns in steps.items() if concerns)


def _without_numbers(outcome: Outcome) -> Outcome:
    report = outcome.agent
    told = None if report is None else AgentReport(agent=report.agent, session_id=report.session_id, text=report.text)
    return msgspec.structs.replace(outcome, agent=told)


def _exit_code_as_data(flight: Flight, outcome: Outcome) -> Outcome:
    return as_round(outcome, flight.job.repeat)
