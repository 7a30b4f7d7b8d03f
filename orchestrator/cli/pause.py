"""`orchestrate pause RUN`: start nothing more, and wait without a limit for what runs."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument


@click.command("pause")
@run_argument
@click.option("--wait", "waits", is_flag=True, help="Return once the run has ended.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, waits: bool) -> int:
    """Have a run pause: start nothing more, let what runs finish however long it takes. `resume` goes on with the run."""
    from orchestrator.cli.asking import ask_to_end
    from orchestrator.cli.meant_run import run_to_steer
    from orchestrator.control.messages import Pause

    return ask_to_end(run_to_steer(invocation, run), Pause(), "pause", waits=waits)
