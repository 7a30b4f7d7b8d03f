"""What can be said of a file's items before anything has run: which there are, and what they are called.

Whatever tells of a job that has not run is not known yet (`NotYetKnown`); nothing here starts or records anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.attempts.items.labels import LabellingJobs
from orchestrator.attempts.items.listing import with_files_checked
from orchestrator.attempts.items.patterns import LATER, Later
from orchestrator.attempts.items.selection import LabelsUnknown, early_label
from orchestrator.jobsfile.model import ChainSource, FileSource, Job, JobsFile, chain_of
from orchestrator.store.item_list import ItemList, write_item_list

Values = list[Any] | ItemList


class NotYetKnown(Exception):
    """A template asked for the result of a job that has not run; `args[0]` is the job's id."""


class LaterJob:
    """`jobs.ID` before anything has run: every field of it is known only after the job."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def template_field(self, name: str) -> Any:
        """Raises NotYetKnown."""
        del name
        raise NotYetKnown(self._job_id)


def context_before(jobs_file: JobsFile, inputs: dict[str, Any]) -> dict[str, Any]:
    """What a `for_each` sees: real inputs, a made-up run id, and jobs of which nothing is known yet."""
    return {
        "inputs": inputs,
        "run": {"id": "RUN", "name": jobs_file.name, "folder": jobs_file.folder},
        "jobs": {job.id: LaterJob(job.id) for job in jobs_file.jobs},
    }


def values_of(job: Job, known: Mapping[str, Values | None], context: dict[str, Any], folder: str, scratch: str) -> Values:
    """A job's item values; one None for a job without `for_each`. Raises NotYetKnown, SourceError, SameFile.

    `known`: the values of the jobs before it. Those that come from a file are written to `scratch`: there may be millions.
    """
    from orchestrator.jobsfile.sources import list_items

    # A chain has the items of the job that it follows.
    source = job.for_each
    if source is None:
        return [None]
    if isinstance(source, ChainSource):
        parent = known.get(source.jobs[0])
        if parent is None:
            raise NotYetKnown(source.jobs[0])
        return parent
    items = list_items(source, context, folder)
    if job.creates is not None:
        items = with_files_checked(job, job.creates, items, context, {"inputs", "run"})
    # As a run lays them down, so that an item is read where it is shown.
    if not isinstance(source, FileSource):
        return list(items)
    path = Path(scratch, "items", f"{job.id}.jsonl")
    write_item_list(path, items)
    return ItemList(path)


class LabelsBefore:
    """The labels of a file's items, as far as they are known before its run. `known`: the values of jobs; the caller fills it."""

    def __init__(self, jobs: Sequence[Job], known: Mapping[str, Values | None]) -> None:
        self._jobs = {job.id: job for job in jobs}
        self._known = known
        self._labelling_jobs = LabellingJobs(self._jobs.__getitem__)
        self._above: dict[str, str] = {}
        """By job the one above it in its chain whose values are known."""

    def label(self, context: dict[str, Any], job_id: str, index: int) -> str | Later | None:
        """The item's label. Raises LabelsUnknown if the items themselves are not known."""
        # A chain has the items of the job that it follows, also before its own turn has come.
        above, passed = job_id, []
        while (values := self._known.get(above)) is None:
            passed.append(above)
            if not chain_of(self._jobs[above]):
                raise LabelsUnknown(above)
            above = self._above.get(above) or chain_of(self._jobs[above])[0]
        # Each way up a long chain is gone once.
        self._above.update(dict.fromkeys(passed, above))
        try:
            return early_label(self._labelling_jobs.of(self._jobs[job_id]), index, values[index], context)
        except NotYetKnown:
            return LATER
