"""One more time for items of a run that goes on: what may, and what runs again besides because it waited for them."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.ancestry import jobs_behind
from orchestrator.core.scheduling import is_over
from orchestrator.core.states import Failed, Interrupted, ItemRef, Pending, Phase, Running, RunState, Skipped, Waiting


def why_not_again(state: RunState, items: Sequence[ItemRef]) -> str:
    """Why these items cannot be had once more just now, in words; empty: they can."""
    for order, index in items:
        job = state.jobs[order]
        # A job that stopped itself (`max_failures`) may go on with fewer failures; a run that ends may not.
        if state.is_finished or (is_over(state, job) and not (job.is_stopped or job.enough)):
            return "the run is ending: ask again once it has ended"
        if job.is_listed and isinstance(job.items[index], Running):
            return f"{job.rules.id}:{index} runs: cancel it first, or wait for its end"
    return ""


def items_to_reopen(state: RunState, items: Sequence[ItemRef]) -> tuple[tuple[ItemRef, ...], tuple[int, ...]]:
    """Those of `items` that have ended, with what was skipped behind them; and the jobs that were closed before they were listed.

    What has succeeded behind them stays: it is marked stale if it would do something else now.
    """
    # An item that is pending or waits runs anyway.
    again = {
        (order, index)
        for order, index in items
        if state.jobs[order].is_listed and not isinstance(state.jobs[order].items[index], Pending | Waiting)
    }
    firsts = {order for order, _ in again}
    unlisted = []
    behind = jobs_behind(state, firsts)
    for order, job in enumerate(state.jobs):
        # A job of which only a part was asked for has items that are skipped for good; nobody can tell them from the others here.
        # One of which enough has ended wants no more.
        if job.unselected or job.enough or order in firsts or order not in behind:
            continue
        if not job.is_listed and job.phase is Phase.SKIPPED:
            unlisted.append(order)
        again |= {(order, index) for index, item in enumerate(job.items) if isinstance(item, Skipped | Interrupted)}
        # A gate fails if its question cannot be rendered, as when a job before it failed: that may be otherwise now.
        if job.rules.is_gate:
            again |= {(order, index) for index, item in enumerate(job.items) if isinstance(item, Failed)}
    return tuple(sorted(again)), tuple(unlisted)
