"""Loops (`repeat`): which round comes next, what its templates see of the one before, and whether it was the last.

Promise: a round that is recorded never runs again, whichever process is killed at any moment; the rounds of an item are numbered
from 1 without a gap. It refuses to handle: when the next round starts (core), what a round does (preparer).
"""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.flight import Flight
from orchestrator.attempts.rendering import truth
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.core.events import Verdict
from orchestrator.jobsfile.model import Job, Repeat
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.records import Status
from orchestrator.system.wording import how_many
from orchestrator.workers.protocol import AttemptClass, Outcome


class Loops:
    """The loops of one run."""

    def __init__(self, records: Records, contexts: ItemContexts) -> None:
        self._records = records
        self._contexts = contexts

    def next_round(self, job: Job, index: int) -> int:
        """The round that an attempt of this item would make; 0 if its job is no loop.

        An item goes on where it stands; one that came to its end, or to its last round, or was set back, begins anew.
        """
        if job.repeat is None:
            return 0
        past = self._records.history.jobs[job.id]
        done = past.rounds_done(index)
        is_anew = past.status(index) is Status.SUCCEEDED or done >= job.repeat.max or past.is_set_back(index)
        return 1 if is_anew else done + 1

    def names(self, job: Job, index: int, number: int) -> dict[str, Any]:
        """What the templates of round `number` see besides: `round`, and `output` and `exit_code` of the round before.

        Raises CaptureMismatch: the output is not what was recorded.
        """
        if job.repeat is None:
            return {}
        ended = self._records.history.jobs[job.id].round_end(index, number - 1) if number > 1 else None
        if ended is None:
            return {"round": number, "output": None, "exit_code": None}
        output = self._records.shaped_output(job, ended.outcome)
        return {"round": number, "output": output, "exit_code": ended.outcome.exit_code}

    def begins(self, job: Job, context: dict[str, Any]) -> bool:
        """Whether there is a first round: `while` is asked before it, too. Raises ItemRefused."""
        repeat = job.repeat
        if repeat is None or repeat.is_until:
            return True
        return truth(repeat.condition, {**context, "round": 0}, "repeat.while")

    def round_ended(self, flight: Flight, outcome: Outcome) -> tuple[Outcome, Verdict]:
        """What a round comes to whose attempt did what it should: the last, one of several, or one too many.

        A condition that cannot be asked ends the loop: to go round for ever would be worse.
        """
        repeat, number = flight.job.repeat, flight.start.round
        assert repeat is not None
        key = "until" if repeat.is_until else "while"
        index, job = flight.item[1], flight.job
        try:
            context = self._contexts.for_item(job, index, flight.start.attempt)
            context.update(label=flight.start.label, round=number, exit_code=outcome.exit_code)
            # An output may be large: a condition that asks for the exit code alone does not wait for it to be read.
            if "output" in repeat.condition.names:
                context["output"] = self._records.shaped_output(job, outcome)
            is_true = truth(repeat.condition, context, f"repeat.{key}")
        except (ItemRefused, CaptureMismatch) as refused:
            return _failed(outcome, str(refused)), Verdict.HOPELESS
        # The condition holds: this round was the last.
        if is_true is repeat.is_until:
            return outcome, Verdict.SUCCEEDED
        if number < repeat.max:
            return outcome, Verdict.ROUND
        # No round is left: that is a failure only where the user said that the condition must come to hold.
        still = "not true" if repeat.is_until else "still true"
        words = f"repeat.{key} is {still} after {how_many(repeat.max, 'round')}"
        if repeat.must:
            return _failed(outcome, f"{words}, and must = true"), Verdict.HOPELESS
        # A success, and not the end that the loop was to come to: people hear of it.
        message = f"{outcome.message}; {words}" if outcome.message else words
        return msgspec.structs.replace(outcome, message=message), Verdict.SUCCEEDED


def as_round(outcome: Outcome, repeat: Repeat | None) -> Outcome:
    """The outcome of an attempt. If the loop's condition asks for the exit code, an attempt that exited by itself succeeded."""
    is_data = repeat is not None and repeat.takes_exit_code
    if not is_data or outcome.attempt_class is not AttemptClass.COMMAND_FAILED or outcome.exit_code is None:
        return outcome
    return msgspec.structs.replace(outcome, attempt_class=AttemptClass.OK, message="")


def _failed(outcome: Outcome, message: str) -> Outcome:
    return msgspec.structs.replace(outcome, attempt_class=AttemptClass.LOOP_FAILED, message=message)
