"""The answer to a gate: told to the supervisor of its run, or kept for the run's next session.

Promise: an answer is durable before it is promised; of several gates all take it, or none.
"""

from __future__ import annotations

import msgspec

from orchestrator.control.client import NoSupervisor, ask
from orchestrator.control.messages import Approve, GoOn, Reply
from orchestrator.control.requester import this_process
from orchestrator.errors import UserError
from orchestrator.reading.item_names import find_items
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_records import item_id
from orchestrator.runs.offline_recorder import OfflineRecorder
from orchestrator.store.checkpoint import read_header
from orchestrator.store.known_runs import parent_of
from orchestrator.store.run_dir import RunDir
from orchestrator.supervisor.gate_answers import GivenAnswer, answer_of


class Answered(msgspec.Struct, frozen=True):
    """In words what was done, and what the supervisor above a child run does now; empty: there is none, so a resume is needed."""

    words: str
    told: str


def answer(reader: RunReader, gate: str, choice: str | None, message: str) -> Answered | Reply:
    """Answer the open gates of the run that `gate` names; the reply of its own supervisor, if it has one.

    Raises UserError: it names no gate, or one takes no such answer; RunHeldError if a supervisor has just begun.
    """
    items = _open_gates(reader, gate)
    try:
        return ask(reader.run_dir.path, Approve.of(items, choice, message))
    except NoSupervisor:
        # Nobody supervises the run, or the supervisor ended before it answered: recording the same answer twice does no harm.
        words = _record(reader.run_dir, items, choice, message)
    # A child run goes on with the item that it is part of: resuming the child alone would leave its parent waiting.
    return Answered(words, _tell_above(reader.run_dir))


def _open_gates(reader: RunReader, reference: str) -> list[tuple[str, int]]:
    """The open gates that `reference` names; if none of them is open, all of them: each then says why it takes no answer."""
    gates = [(job_id, index) for job_id, index in find_items(reader, reference) if reader.job(job_id).is_gate]
    if not gates:
        names = [job_id for job_id in reader.history.header.jobs if reader.job(job_id).is_gate]
        hint = f"its gates are: {', '.join(names)}" if names else "it has none"
        raise UserError(f"{reference} names no gate of run {reader.run_dir.run_id}", hint)
    return [each for each in gates if reader.history.jobs[each[0]].is_asking(each[1])] or gates


def _record(run_dir: RunDir, items: list[tuple[str, int]], choice: str | None, message: str) -> str:
    """Keep the answer for the resume of a run that nobody supervises; what was done, in words.

    Raises RunHeldError if a supervisor has just begun, UserError if a gate takes no such answer: then none was kept.
    """
    given = GivenAnswer(choice, message, this_process())
    with OfflineRecorder.lock_and_open(run_dir, Approve.of(items, choice, message)) as recorder:
        # Under the run's lock: all of these gates take the answer, or none does.
        history = recorder.history
        names = [item_id(job_id, index, is_fan_out=history.header.jobs[job_id]) for job_id, index in items]
        answers = [
            answer_of(history.jobs[job_id], index, name, given) for (job_id, index), name in zip(items, names, strict=True)
        ]
        # None: the gate has this very answer already.
        if any(answers):
            recorder.record_group([answer for answer in answers if answer is not None])
            recorder.make_durable()
    what = names[0] if len(names) == 1 else f"{len(names)} gates"
    return f"{what}: answered{'' if any(answers) else ' so already'}"


def _tell_above(run_dir: RunDir) -> str:
    """Have the nearest supervised run above this child run start the child's item again; its reply, empty without such a run."""
    parent = parent_of(run_dir)
    if parent is None:
        return ""
    # The header of the child run says which item it is: that item is what goes on in the parent.
    above = run_dir.beside(parent)
    [item] = find_items(RunReader.read(above), (read_header(run_dir.checkpoint).parent or "").partition("/")[2])
    try:
        return ask(above.path, GoOn(item)).message
    except NoSupervisor:
        # A parent may be a child run itself, and have paused too: its own parent resumes it.
        return _tell_above(above)
