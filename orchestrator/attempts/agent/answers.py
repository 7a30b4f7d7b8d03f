"""The end of an agent's attempt: what its session had told before is carried over, and its answer is held against its schema."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec

from orchestrator.attempts.agent.sessions import LastEnd, carried_over, session_is_gone
from orchestrator.attempts.agent.work import schema_of
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.core.events import Verdict
from orchestrator.jobsfile.answer_schema import AnswerSchema, AnswerSchemaError, mistakes_told
from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.outcomes import UNFIT, with_mistakes
from orchestrator.store.outputs import read_output
from orchestrator.workers.protocol import AttemptClass, Outcome


class AgentEnds:
    """The ends of the agents of one run."""

    def __init__(self, records: Records, contexts: ItemContexts, jobs_file: JobsFile) -> None:
        self._records = records
        self._contexts = contexts
        self._folder = jobs_file.folder
        self._files = jobs_file.files

    def carry_session_over(self, flight: Flight, outcome: Outcome) -> Outcome:
        """The outcome, with what its session had told before, where the attempt told nothing of that."""
        ended = self._records.history.jobs[flight.job.id].last_end(flight.item[1]) if flight.start.session is not None else None
        return outcome if ended is None else carried_over(outcome, LastEnd(ended.outcome, ended.folder))

    def judge_of(self, flight: Flight, outcome: Outcome) -> Callable[[], bytes] | None:
        """What holds the answer of a success against its schema, for `as_judged`; None: nothing is to be held against one.

        It may take for ever, so it is called in a process of its own.
        """
        if flight.job.schema is None or outcome.attempt_class is not AttemptClass.OK:
            return None
        try:
            return self._schema(flight).judge_of(read_output(outcome, flight.job.output, self._records.run_dir))
        except UNFIT as error:
            return partial(msgspec.json.encode, [str(error)])

    def as_judged(self, outcome: Outcome, told: bytes | None) -> Outcome:
        """The outcome, or `check_failed` in its place if its answer does not fit. `told`: by its judge; None: that was ended."""
        return with_mistakes(outcome, mistakes_told(told))

    def _schema(self, flight: Flight) -> AnswerSchema:
        try:
            context = self._contexts.for_item(flight.job, flight.item[1], flight.start.attempt)
            context["label"] = flight.start.label
            schema = schema_of(flight.job, context, self._folder, self._files)[1]
        except (ItemRefused, CaptureMismatch) as error:
            raise AnswerSchemaError(str(error)) from error
        assert schema is not None, "only a job with a schema is asked for it"
        return schema


def verdict_on(said: Outcome, outcome: Outcome, verdict: Verdict) -> Verdict:
    """The verdict on an agent's attempt: `verdict` of `outcome`, or `CORRECTABLE`: one more attempt that counts for none.

    `said`: the outcome before its answer was checked.
    """
    # Either the agent says that it succeeded, and its answer is wrong. Or the session could not go on: a CLI that was killed
    # tells the id of a session before it keeps the session.
    if said.agent is None or verdict is not Verdict.FAILED:
        return verdict
    is_answer = said.attempt_class is AttemptClass.OK and outcome.attempt_class in _OF_THE_ANSWER
    return Verdict.CORRECTABLE if is_answer or session_is_gone(said) else verdict


_OF_THE_ANSWER = (AttemptClass.CHECK_FAILED, AttemptClass.BAD_OUTPUT)
