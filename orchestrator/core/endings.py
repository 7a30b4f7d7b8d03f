"""Having what runs ended: the word is kept with the item, and it comes to its end when its tree is gone."""

from __future__ import annotations

import msgspec

from orchestrator.core.decisions import Decision, EndAttempt
from orchestrator.core.states import EndWord, JobState, Running


def end_job(
    job: JobState, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None, words: str = ""
) -> None:
    """Have everything of the job that runs ended, with at most so many seconds of grace."""
    if job.running:
        for index, item in enumerate(job.items):
            if isinstance(item, Running):
                end_one(job, index, reason, decisions, grace_at_most, words)


def end_one(
    job: JobState, index: int, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None, words: str = ""
) -> None:
    """Have a running item ended. `words`: of a halt, what caused it."""
    running = job.items[index]
    assert isinstance(running, Running)
    # Each further failure halts anew: what is about to end need not be told twice, nor by another item.
    if reason == "halt" and running.ending is not None:
        return
    # The first reason stays: an item that was cancelled is cancelled, also when the run is drained while it ends.
    if running.ending is None:
        running = job.items[index] = msgspec.structs.replace(running, ending=reason, words=words)
    ref = (job.rules.order, index)
    decisions.append(EndAttempt(ref, "drain" if running.ending == "drain" else "cancel", grace_at_most, running.words))
