"""`orchestrate approve RUN GATE`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import last_option, named_run, run_argument
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
@last_option
@click.option("--choice", metavar="X", help="One of the gate's options (default: the one that approves).")
@click.option("-m", "--message", default="", metavar="TEXT", help="What the run's templates see as jobs.GATE.message.")
@click.option("--resume", is_flag=True, help="Then go on with the run, if nobody supervises it.")
@pass_invocation
def command(
    invocation: Invocation, *, run: str | None, gate: str | None, last: bool, choice: str | None, message: str, resume: bool
) -> int:
    """Answer a gate that a run waits at, from any shell: GATE is its job, JOB:INDEX, JOB:LABEL or a glob over open gates.

    The answer is kept durably. A run that goes on acts on it at once; one that has paused does when it is resumed.
    """
    from orchestrator.cli.asking import say
    from orchestrator.cli.shown_run import open_run
    from orchestrator.control.client import NoSupervisor, ask
    from orchestrator.control.messages import Approve

    if last and run is not None:
        run, gate = None, run  # with --last the first word is the gate
    reader = open_run(invocation, named_run(run, last=last))
    if gate is None:
        raise UserError("which gate?", f"orchestrate status {reader.run_dir.run_id} shows those that wait for an answer")
    _refuse_undecodable(message)
    items = _chosen(reader, gate)
    try:
        return say(ask(reader.run_dir.path, Approve(items, choice, message)))
    except NoSupervisor:  # or it ended before it answered: the same answer twice does no harm
        words = _record(reader.run_dir, items, choice, message)
    from orchestrator.store.known_runs import outermost

    told = _tell_above(reader.run_dir)
    last_run = outermost(reader.run_dir)
    write_line(f"{words}; {told or f'go on with: orchestrate resume {last_run.run_id}'}")
    return _resume(invocation, last_run) if resume and not told else 0


def _chosen(reader: RunReader, reference: str) -> list[tuple[str, int]]:
    """The gates that are meant: the open ones, else all that are called so, of which it is said why they take no answer."""
    from orchestrator.reading.item_names import find_items

    gates = [(job_id, index) for job_id, index in find_items(reader, reference) if reader.job(job_id).is_gate]
    if not gates:
        names = [job_id for job_id in reader.history.header.jobs if reader.job(job_id).is_gate]
        hint = f"its gates are: {', '.join(names)}" if names else "it has none"
        raise UserError(f"{reference} names no gate of run {reader.run_dir.run_id}", hint)
    return [each for each in gates if reader.history.jobs[each[0]].is_asking(each[1])] or gates


def _record(run_dir: RunDir, items: list[tuple[str, int]], choice: str | None, message: str) -> str:
    """Nobody supervises the run: keep the answer for its resume, and say so. Raises RunHeldError if one has just begun."""
    from orchestrator.reading.run_records import item_id
    from orchestrator.runs.offline_recorder import OfflineRecorder
    from orchestrator.supervisor.gate_answers import answer_of

    with OfflineRecorder.lock_and_open(run_dir) as recorder:
        history, now = recorder.history, time.time()
        names = [item_id(job_id, index, is_fan_out=history.header.jobs[job_id]) for job_id, index in items]
        answers = [
            answer_of(history.jobs[job_id], index, name, choice, message, now)
            for (job_id, index), name in zip(items, names, strict=True)
        ]
        if any(answers):
            recorder.record_group([answer for answer in answers if answer is not None])
            recorder.make_durable()
    what = names[0] if len(names) == 1 else f"{len(names)} gates"
    return f"{what}: answered{'' if any(answers) else ' so already'}"


def _tell_above(run_dir: RunDir) -> str:
    """A child run goes on with its parent: have the next one above that is supervised do so now. What it says; empty: none is."""
    from orchestrator.control.client import NoSupervisor, ask
    from orchestrator.control.messages import GoOn
    from orchestrator.reading.item_names import find_items
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.checkpoint import read_header
    from orchestrator.store.known_runs import parent_of

    parent = parent_of(run_dir)
    if parent is None:
        return ""
    above = run_dir.beside(parent)
    [item] = find_items(RunReader.read(above), (read_header(run_dir.checkpoint).parent or "").partition("/")[2])
    try:
        return ask(above.path, GoOn(item)).message
    except NoSupervisor:
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
