"""`orchestrate stop RUN`: start nothing more, and let what runs finish, or end it (`--now`)."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument


@click.command("stop")
@run_argument
@click.option("--now", is_flag=True, help="Do not wait for what runs: end it (SIGTERM, grace, SIGKILL).")
@click.option("--wait", "waits", is_flag=True, help="Return once the run has ended.")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, now: bool, waits: bool) -> int:
    """Have a run drain: start nothing more, let what runs finish, stay resumable."""
    from orchestrator.cli.asking import ask_to_end
    from orchestrator.cli.meant_run import run_to_steer
    from orchestrator.control.messages import StopRequest

    return ask_to_end(run_to_steer(invocation, run), StopRequest(now), "stop", waits=waits)
