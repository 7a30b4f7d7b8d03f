"""The names that templates see: `inputs item index label run attempt parent jobs`."""

from __future__ import annotations

from typing import Any

import msgspec

from orchestrator.jobsfile.model import ChainSource, Job
from orchestrator.results import RunReader
from orchestrator.store.durable_file import write_whole
from orchestrator.store.records import Status


class JobView:
    """`jobs.ID` in a template. Reads the records when a field is asked for; keeps it once the job is closed."""

    def __init__(self, reader: RunReader, job_id: str) -> None:
        self._reader = reader
        self._job_id = job_id
        self._kept: dict[str, Any] = {}

    def template_field(self, name: str) -> Any:
        """The value of `jobs.ID.name`. Raises KeyError for a name that a job does not have."""
        if name in self._kept:
            return self._kept[name]
        value = self._read(name)
        if self._reader.history.jobs[self._job_id].closed is not None:
            self._kept[name] = value
        return value

    def _read(self, name: str) -> Any:
        reader, job_id = self._reader, self._job_id
        match name:
            case "status":
                return reader.job_status(job_id)
            case "output":
                outputs = self._outputs()
                return outputs if reader.history.header.jobs[job_id] else outputs[0]
            case "outputs":
                return self._outputs()
            case "results":
                return list(reader.results(job_id))
            case "succeeded":
                return list(reader.results(job_id, Status.SUCCEEDED))
            case "failed":
                return list(reader.results(job_id, Status.FAILED))
            case "results_file":
                return self._write_results_file()
            case "workspace" | "message":
                return None
            case _:
                raise KeyError(name)

    def _write_results_file(self) -> str:
        """Only a cache: made again whenever a template asks for it."""
        path = self._reader.run_dir.results(self._job_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, msgspec.json.encode(list(self._reader.results(self._job_id))))
        return str(path)

    def _outputs(self) -> list[Any]:
        return [self._reader.output(self._job_id, index) for index in range(self._reader.count(self._job_id))]


class ItemContexts:
    """Makes the context of each item of a run."""

    def __init__(self, reader: RunReader, inputs: dict[str, Any]) -> None:
        header = reader.history.header
        self._reader = reader
        self._base: dict[str, Any] = {
            "inputs": inputs,
            "run": {"id": header.run_id, "name": header.name, "folder": header.folder},
            "jobs": {job_id: JobView(reader, job_id) for job_id in header.jobs},
        }

    def for_job(self) -> dict[str, Any]:
        """What a `for_each` sees: no item yet."""
        return dict(self._base)

    def for_item(self, job: Job, index: int, attempt: int) -> dict[str, Any]:
        """What an item's templates see. `label` is added by who renders it first."""
        context: dict[str, Any] = dict(self._base)
        context["index"] = index
        context["attempt"] = {"number": attempt, "check_output": ""}
        if job.for_each is not None:
            context["item"] = self._reader.value(job.id, index)
        if isinstance(job.for_each, ChainSource):
            parents = job.for_each.jobs
            results = {parent: self._reader.result(parent, index) for parent in parents}
            context["parent"] = results[parents[0]] if len(parents) == 1 else results
        return context
