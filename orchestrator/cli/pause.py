"""`orchestrate pause RUN`: start nothing more, and wait without a limit for what runs."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import last_option, named_run, run_argument


@click.command("pause")
@run_argument
@last_option
@click.option("--wait", "waits", is_flag=True, help="Return once the run has ended.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, last: bool, waits: bool) -> int:
    """Have a run pause: start nothing more, let what runs finish however long it takes. `resume` goes on with the run."""
    from orchestrator.cli.asking import ask_to_end
    from orchestrator.control.messages import Pause

    return ask_to_end(invocation.find(named_run(run, last=last)), Pause(), "pause", waits=waits)
