"""`orchestrate status [RUN]`: how a run stands at this moment."""

from __future__ import annotations

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, run_argument


@click.command("status")
@run_argument
@click.option("--watch", is_flag=True, help="Show it until it ends, as `attach` does.")
@json_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, watch: bool, as_json: bool) -> int:
    """Tell how a run stands (default: the newest): counts of each job, what runs, what failed and why, what asks."""
    from orchestrator.cli.standing import tell_status

    return tell_status(invocation, run=run, watch=watch, as_json=as_json)
