"""Patterns of `--only` that match nothing: told before anything runs, as far as the lists are known by then.

A list that another job's output makes is known only later: then the end of the run tells it (`supervisor/run_end`).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.foreseen import LabelsBefore, NotYetKnown, Values, context_before, values_of
from orchestrator.attempts.items.listing import choose_items, idle_pattern
from orchestrator.attempts.items.selection import Selector, check_patterns, matches_nothing
from orchestrator.jobsfile.created_files import SameFile
from orchestrator.jobsfile.model import JobsFile, chain_of
from orchestrator.jobsfile.sources import SourceError
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.store.settings_records import Selection


def check_selection(selection: Selection, jobs_file: JobsFile, inputs: dict[str, Any]) -> None:
    """Raise UserError for a pattern that will match nothing in a new run of this file."""
    # Most patterns name whole jobs: no list is made for these.
    if not any(":" in pattern for pattern in selection.only):
        return
    selector = Selector(selection, jobs_file.jobs)
    named = {job_id for pattern in selection.only for job_id in selector.jobs_named_by(pattern)}
    from tempfile import TemporaryDirectory  # and what it needs: three milliseconds of every start

    named.update(parent for job in jobs_file.jobs for parent in chain_of(job))
    known: dict[str, Values | None] = {}
    context = context_before(jobs_file, inputs)
    labels = partial(LabelsBefore(jobs_file.jobs, known).label, context)
    with TemporaryDirectory(prefix="orchestrate-only-") as scratch:
        for job in jobs_file.jobs:
            # A list may be long: only those are made that a pattern speaks of, and those that such a chain follows.
            if job.id not in named:
                continue
            try:
                values = known[job.id] = values_of(job, known, context, jobs_file.folder, scratch)
            except (NotYetKnown, SourceError, SameFile):
                continue  # known later; or a mistake, which the run tells with its job
            selector.select_items(job.id, len(values), labels)
        for pattern in selector.idle_patterns():
            counts = {job_id: len(known.get(job_id) or ()) for job_id in selector.jobs_named_by(pattern)}
            raise matches_nothing(pattern, counts, labels)


def check_selection_again(selection: Selection, run_dir: RunDir) -> None:
    """Raise UserError for a pattern that names no job of this run, or no item of what it has listed."""
    history = read_history(run_dir)
    check_patterns(selection.only, history.header.jobs)
    if not any(":" in pattern for pattern in selection.only):
        return
    reader = RunReader(run_dir, history, alive=False)
    contexts = ItemContexts(reader, history.header.inputs)
    selector = Selector(selection, reader.jobs_file.jobs)
    for job_id in history.header.jobs:
        if history.jobs[job_id].count is not None:
            choose_items(reader, contexts, selector, job_id)
    mistake = idle_pattern(reader, contexts, selector)
    if mistake is not None:
        raise mistake
