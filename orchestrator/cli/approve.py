"""`orchestrate approve [RUN] GATE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.given_secrets import take_secrets
from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument, secrets_option
from orchestrator.cli.output import flush, write_line
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

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
@secrets_option
@pass_invocation
def command(
    invocation: Invocation,
    *,
    run: str | None,
    gate: str | None,
    choice: str | None,
    message: str,
    resume: bool,
    inputs: tuple[str, ...],
) -> int:
    """Answer a gate that a run waits at, from any shell.

    GATE is the gate's job, JOB:INDEX, JOB:LABEL, or a glob over open gates. The answer is kept durably. A run that goes on acts
    on the answer at once; a run that has paused acts on it when it is resumed.
    """
    from orchestrator.cli.asking import say
    from orchestrator.cli.meant_run import run_and_gate
    from orchestrator.control.messages import Reply
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.runs.approvals import answer
    from orchestrator.store.known_runs import outermost

    if inputs and not resume:
        raise click.UsageError("-i is about --resume: give --resume too")
    run_dir, gate = run_and_gate(invocation, run, gate)
    last_run = outermost(run_dir)
    # Before the answer is kept: what is refused changes nothing.
    take_secrets(last_run, inputs)
    reader = RunReader.read(run_dir)
    _refuse_undecodable(message)
    answered = answer(reader, gate, choice, message)
    if isinstance(answered, Reply):
        return say(answered)
    goes_on = resume and not answered.told
    later = answered.told or f"go on with: {invocation.program()} resume {last_run.run_id}"
    write_line(answered.words if goes_on else f"{answered.words}; {later}")
    return _resume(invocation, last_run) if goes_on else 0


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
