"""`orchestrate list`: the runs of this home, newest first."""

from __future__ import annotations

from typing import get_args

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import age_seconds, json_option
from orchestrator.store.records import RunStatus


@click.command("list")
@click.option("--since", callback=age_seconds, metavar="AGE", help="Only runs that began within this time (20h, 7d).")
@click.option("--status", type=click.Choice(get_args(RunStatus)), help="Only runs in this state.")
@click.option("--file", "file", metavar="FILE", help="Only runs of this jobs file.")
@click.option("--all", "with_children", is_flag=True, help="Also child runs, each below its parent.")
@json_option
@pass_invocation
def command(
    invocation: Invocation, *, since: float | None, status: str | None, file: str | None, with_children: bool, as_json: bool
) -> int:
    """List the runs, newest first."""
    from orchestrator.cli.listing import list_runs

    return list_runs(invocation, since=since, status=status, file=file, with_children=with_children, as_json=as_json)
