"""The work of `orchestrate list`: the runs of this home, newest first, each read for a moment without a lock.

A run that has ended costs the same however many items it has: its summary was kept (`store.kept_summary`). Of a run that has one
nothing else is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cli.output import write_bytes, write_line
from orchestrator.errors import UserError
from orchestrator.reading.shown_summary import KeptSummaries, summary_of
from orchestrator.store.known_runs import Families, KnownRun, known_runs
from orchestrator.system.locks.holders import SeenLocks

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.store.run_dir import RunDir


def list_runs(
    invocation: Invocation,
    *,
    since: float | None = None,
    status: str | None = None,
    file: str | None = None,
    with_children: bool = False,
    as_json: bool = False,
) -> int:
    """What `list` does, by the names of its options."""
    # Chosen by what costs least first: parents are told by the summaries or the headers, all else by a run's summary, or its
    # whole records.
    summaries = KeptSummaries()
    depths = _in_families(known_runs(invocation.home(), summaries.birth))
    runs = [run for run, depth in depths.items() if with_children or depth == 0]
    oldest = None if since is None else time.time() - since
    wanted = None if file is None else os.path.realpath(file)
    told = (
        summary
        for summary in map(partial(_summary, summaries=summaries, locks=SeenLocks()), runs)
        if (oldest is None or summary["started_at"] is None or summary["started_at"] >= oldest)
        and (status is None or summary["status"] == status)
        and (wanted is None or summary["jobs_file"] == wanted)
    )
    if as_json:
        from orchestrator.views.json_lines import json_list, with_times

        for chunk in json_list(map(with_times, told)):
            write_bytes(chunk)
    else:
        # A line is printed as soon as it is known, so that `| head` is quick however many runs there are.
        indents = {run.run_id: "  " * depth for run, depth in depths.items()}
        _print_table(told, indents, max((len(indents[run.run_id] + run.run_id) for run in runs), default=3))
    return 0


def _in_families(known: list[KnownRun]) -> dict[RunDir, int]:
    """The runs in their order, each with its children behind it (the oldest first), and the depth of each: 0 without a parent."""
    families = Families(known)
    depths: dict[RunDir, int] = {}
    for run, parent in known:
        if parent is None:
            depths[run] = 0
            depths.update(families.below(run.run_id))
    return depths


def _summary(run_dir: RunDir, summaries: KeptSummaries, locks: SeenLocks) -> dict[str, Any]:
    """The object of `status --json`; of a run that cannot be read, its id and the word `unreadable`."""
    # One run that is damaged, or of a newer version, must not hide the others.
    try:
        return summary_of(run_dir, summaries, locks)
    except UserError as error:
        nothing = dict.fromkeys(
            ("name", "jobs_file", "started_at", "finished_at", "cost_usd", "unknown_costs", "ledger", "parent")
        )
        told = {"item": None, "message": error.message}
        return {"run_id": run_dir.run_id, "status": "unreadable", **nothing, "counts": {}, "error": told, "jobs": []}


def _print_table(summaries: Iterator[dict[str, Any]], indents: dict[str, str], width: int) -> None:
    from orchestrator.system.wording import at_time, counted, lasting, shown

    is_first = True
    for summary in summaries:
        if is_first:
            write_line(f"{'RUN':<{width}}  {'STATUS':<11}  {'STARTED':<19}  {'TOOK':<7}  {'NAME':<16}  ITEMS")
            is_first = False
        started, finished = summary["started_at"], summary["finished_at"]
        took = "" if started is None or finished is None else lasting(finished - started)
        said = counted(summary["counts"]) if summary["name"] is not None else shown(summary["error"]["message"], 100)
        run_id = indents[summary["run_id"]] + shown(summary["run_id"])
        began = at_time(started) if started is not None else ""
        write_line(
            f"{run_id:<{width}}  {summary['status']:<11}  {began:<19}  {took:<7}  {shown(summary['name'] or '', 30):<16}  {said}"
        )
