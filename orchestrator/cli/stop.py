"""`orchestrate stop RUN`."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import last_option, named_run, run_argument


@click.command("stop")
@run_argument
@last_option
@click.option("--now", is_flag=True, help="Do not wait for what runs: end it (SIGTERM, grace, SIGKILL).")
@pass_invocation
def command(invocation: Invocation, *, run: str | None, last: bool, now: bool) -> int:
    """Have a run drain: start nothing more, let what runs finish, stay resumable."""
    from orchestrator.cli.asking import ask_or_say
    from orchestrator.control import Stop

    return ask_or_say(invocation.find(named_run(run, last=last)), Stop(now), "nothing to stop")
