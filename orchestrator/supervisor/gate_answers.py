"""Whether a gate takes an answer: asked the same way of a living supervisor and of a run that nobody supervises."""

from __future__ import annotations

import time

import msgspec

from orchestrator.control.requester import Requester
from orchestrator.errors import UserError
from orchestrator.jobsfile.keys import REJECTING
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.store.gate_records import AnsweredBy, GateAnswered
from orchestrator.store.job_history import JobHistory
from orchestrator.store.records import Status


class GivenAnswer(msgspec.Struct, frozen=True):
    """What somebody says to gates, and who it is. `choice` None: the one that approves, if it is clear which that is."""

    choice: str | None
    message: str
    by: Requester


def answer_of(past: JobHistory, index: int, name: str, given: GivenAnswer) -> GateAnswered | None:
    """The record of an answer to the gate `name`; None if the same answer stands already. Raises UserError."""
    gate = past.gates.get(index)
    # Only an open question, or one that was answered, can be spoken of.
    if gate is None or gate.question is None or (gate.answer is None and not past.is_asking(index)):
        status = past.status(index)
        words = "has not asked yet" if status in (Status.PENDING, Status.WAITING) else f"is {status.value}: it asks nothing"
        raise UserError(f"{name} {words}", "orchestrate status shows which questions are open")
    options = gate.question.options
    chosen = given.choice if given.choice is not None else _approving(name, options)
    if chosen not in options:
        raise UserError(f"{name} has no choice {chosen!r}{did_you_mean(chosen, options)}", f"it has: {', '.join(options)}")
    if gate.answer is None:
        by = given.by
        who = AnsweredBy(pid=by.pid, program=by.program, user=by.user, terminal=by.terminal, item=by.item)
        return GateAnswered(job=past.id, index=index, choice=chosen, message=given.message, at=time.time(), by=who)
    # The same answer again is no mistake: two shells may have said it. Another one would change what has followed from it.
    if gate.answer.choice == chosen:
        return None
    again = "a resume of the run asks again" if past.status(index) is Status.FAILED else "a choice that is made stands"
    raise UserError(f"{name} is answered already: {gate.answer.choice}", again)


def _approving(name: str, options: list[str]) -> str:
    approving = [option for option in options if option not in REJECTING]
    if "approve" in approving or len(approving) == 1:
        return "approve" if "approve" in approving else approving[0]
    raise UserError(f"{name} has several choices that approve", f"choose one with --choice: {', '.join(options)}")
