"""`orchestrate list`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import age_seconds, json_option
from orchestrator.cli.output import write_bytes, write_line
from orchestrator.store.records import RunStatus

if TYPE_CHECKING:
    from orchestrator.store.rundir import RunDir


@click.command("list")
@click.option("--since", callback=age_seconds, metavar="AGE", help="Only runs that began within this time (20h, 7d).")
@click.option("--status", type=click.Choice(get_args(RunStatus)), help="Only runs in this state.")
@click.option("--file", "file", metavar="FILE", help="Only runs of this jobs file.")
@json_option
@pass_invocation
def command(invocation: Invocation, *, since: float | None, status: str | None, file: str | None, as_json: bool) -> int:
    """List the runs, newest first."""
    from orchestrator.store.rundir import list_runs

    runs = list_runs(invocation.home())
    oldest = None if since is None else time.time() - since
    wanted = None if file is None else os.path.realpath(file)
    summaries = (
        summary
        for summary in map(_summary, runs)
        if (oldest is None or summary["started_at"] is None or summary["started_at"] >= oldest)
        and (status is None or summary["status"] == status)
        and (wanted is None or summary["jobs_file"] == wanted)
    )
    if as_json:
        from orchestrator.views.events import json_list

        for chunk in json_list(summaries):
            write_bytes(chunk)
    else:
        # A line is printed as soon as it is known, so that `| head` is quick however many runs there are.
        _print_table(summaries, max((len(run.run_id) for run in runs), default=3))
    return 0


def _summary(run_dir: RunDir) -> dict[str, Any]:
    """The object of `status --json`; of a run that cannot be read, its id and the word `unreadable`."""
    from orchestrator.errors import UserError
    from orchestrator.results import RunReader

    try:
        return RunReader.read(run_dir).summary()
    except UserError as error:
        nothing = dict.fromkeys(("name", "jobs_file", "started_at", "finished_at", "cost_usd"))
        told = {"item": None, "message": error.message}
        return {"run_id": run_dir.run_id, "status": "unreadable", **nothing, "counts": {}, "error": told, "jobs": []}


def _print_table(summaries: Iterator[dict[str, Any]], width: int) -> None:
    from orchestrator.views.wording import at_time, counted, lasting, shown

    is_first = True
    for summary in summaries:
        if is_first:
            write_line(f"{'RUN':<{width}}  {'STATUS':<11}  {'STARTED':<19}  {'TOOK':<7}  {'NAME':<16}  ITEMS")
            is_first = False
        started, finished = summary["started_at"], summary["finished_at"]
        took = "" if started is None or finished is None else lasting(finished - started)
        said = counted(summary["counts"]) if summary["name"] is not None else shown(summary["error"]["message"], 100)
        write_line(
            f"{summary['run_id']:<{width}}  {summary['status']:<11}  {at_time(started) if started is not None else '':<19}  "
            f"{took:<7}  {shown(summary['name'] or '', 30):<16}  {said}"
        )
