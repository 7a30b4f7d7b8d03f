"""`orchestrate status [RUN]`: how a run stands at this moment, read without a lock. No output of an item is opened for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, run_argument
from orchestrator.cli.output import write_json, write_lines

if TYPE_CHECKING:
    from orchestrator.shared.limits.park import Park


@click.command("status")
@run_argument
@json_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, as_json: bool) -> int:
    """Tell how a run stands (default: the newest): counts of each job, what runs, what failed and why, what asks."""
    from orchestrator.cli.shown_run import child_runs, failures_of, noted_items, open_run_to_show, running_items
    from orchestrator.cli.why_waiting import limits_in_the_way, told_counts
    from orchestrator.reading.open_questions import open_questions
    from orchestrator.reading.run_summary import run_summary
    from orchestrator.views.end_report import status_lines

    reader = open_run_to_show(invocation, run)
    # What waits for a pool or a rate is not recorded: only a living supervisor knows it.
    is_alive = reader.is_alive
    told = told_counts(reader)
    if as_json:
        write_json(run_summary(reader, told.waiting))
        return 0
    # People are told more than the counts: what runs, what failed and why, what asks, what successes lack, which limits hold.
    now = time.time()
    running = running_items(reader, now) if is_alive else []
    write_lines(
        status_lines(
            invocation.program(),
            run_summary(reader, told.waiting),
            running,
            failures_of(reader),
            now,
            questions=list(open_questions(reader)),
            is_alive=is_alive,
            is_each=reader.history.header.each,
            children=child_runs(reader),
            noted=noted_items(reader),
            limits=_limit_lines(limits_in_the_way(reader), told.spared),
        )
    )
    return 0


def _limit_lines(parks: Sequence[Park], spared: Sequence[str]) -> list[str]:
    """A line for each account that is limited. If an account is parked its file tells until when, and the supervisor does not."""
    from orchestrator.shared.limits.parks import park_words

    others = [line for line in spared if not any(park.account in line for park in parks)]
    return [*map(park_words, parks), *others]
