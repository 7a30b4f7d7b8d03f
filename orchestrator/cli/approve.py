"""`orchestrate approve [RUN] GATE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument
from orchestrator.cli.output import flush, write_line
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.commands import RunReport
    from orchestrator.store.run_dir import RunDir
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


@click.command("approve")
@run_argument
@click.argument("gate", required=False, metavar="GATE")
@click.option("--choice", metavar="X", help="One of the gate's options (default: the one that approves).")
@click.option("-m", "--message", default="", metavar="TEXT", help="What the run's templates see as jobs.GATE.message.")
@click.option("--resume", is_flag=True, help="Then go on with the run, if nobody supervises it.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, gate: str | None, choice: str | None, message: str, resume: bool) -> int:
    """Answer a gate that a run waits at, from any shell.

    GATE is the gate's job, JOB:INDEX, JOB:LABEL, or a glob over open gates. The answer is kept durably. A run that goes on acts
    on the answer at once; a run that has paused acts on it when it is resumed.
    """
    from orchestrator.cli.asking import say
    from orchestrator.cli.meant_run import run_and_gate
    from orchestrator.control.client import NoSupervisor, ask
    from orchestrator.control.messages import Approve
    from orchestrator.reading.run_reader import RunReader

    run_dir, gate = run_and_gate(invocation, run, gate)
    reader = RunReader.read(run_dir)
    _refuse_undecodable(message)
    items = _chosen(reader, gate)
    try:
        return say(ask(reader.run_dir.path, Approve.of(items, choice, message)))
    except NoSupervisor:
        # Nobody supervises the run, or the supervisor ended before it answered: recording the same answer twice does no harm.
        words = _record(reader.run_dir, items, choice, message)
    from orchestrator.store.known_runs import outermost

    # A child run goes on with the item that it is part of: resuming the child alone would leave its parent waiting.
    told = _tell_above(reader.run_dir)
    last_run = outermost(reader.run_dir)
    write_line(f"{words}; {told or f'go on with: orchestrate resume {last_run.run_id}'}")
    return _resume(invocation, last_run) if resume and not told else 0


def _chosen(reader: RunReader, reference: str) -> list[tuple[str, int]]:
    """The open gates that `reference` names; if none of them is open, all of them: each then says why it takes no answer."""
    from orchestrator.reading.item_names import find_items

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
    from orchestrator.control.messages import Approve
    from orchestrator.control.requester import this_process
    from orchestrator.reading.run_records import item_id
    from orchestrator.runs.offline_recorder import OfflineRecorder
    from orchestrator.supervisor.gate_answers import GivenAnswer, answer_of

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
    from orchestrator.control.client import NoSupervisor, ask
    from orchestrator.control.messages import GoOn
    from orchestrator.reading.item_names import find_items
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.checkpoint import read_header
    from orchestrator.store.known_runs import parent_of

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


def _resume(invocation: Invocation, run_dir: RunDir) -> int:
    from orchestrator.cli.supervising import Shown, supervise

    def start(_home: Path, listeners: Listeners, prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import ResumeRequest, resume_run

        return resume_run(run_dir, ResumeRequest(), listeners, asker=prompt)

    flush()
    return supervise(invocation, Shown(quiet=False, progress="auto", events=False, as_json=False, detach=False), start)


def _refuse_undecodable(message: str) -> None:
    try:
        message.encode()
    except UnicodeEncodeError:
        raise UserError("--message is not UTF-8", "write it in UTF-8: it is kept in the run's records") from None
