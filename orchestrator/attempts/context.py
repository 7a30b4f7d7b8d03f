"""The names that templates see: `inputs item index label run attempt parent jobs`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from orchestrator.jobsfile.model import ChainSource, Job
from orchestrator.reading.item_result import item_result, item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.seen_statuses import job_status
from orchestrator.store.durable_file import write_whole
from orchestrator.store.outcomes import check_output
from orchestrator.store.records import GateAnswered, Status


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
                return job_status(reader, job_id)
            case "output":
                outputs = self._outputs()
                return outputs if reader.history.header.jobs[job_id] else outputs[0]
            case "outputs":
                return self._outputs()
            case "results":
                return list(item_results(reader, job_id))
            case "succeeded":
                return list(item_results(reader, job_id, Status.SUCCEEDED))
            case "failed":
                return list(item_results(reader, job_id, Status.FAILED))
            case "results_file":
                return self._write_results_file()
            case "message":
                return self._message()
            case "workspace":
                return self._workspaces()
            case _:
                raise KeyError(name)

    def forget(self) -> None:
        """The job is open again: what was read is no longer so."""
        self._kept.clear()

    def _message(self) -> Any:
        reader, job_id = self._reader, self._job_id
        if not reader.job(job_id).is_gate:
            return None
        said = [reader.gate_message(job_id, index) for index in range(reader.count(job_id))]
        return said if reader.history.header.jobs[job_id] else said[0]

    def _write_results_file(self) -> str:
        """Only a cache: made again whenever a template asks for it."""
        path = self._reader.run_dir.results(self._job_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, msgspec.json.encode(list(item_results(self._reader, self._job_id))))
        return str(path)

    def _workspaces(self) -> Any:
        reader, job_id = self._reader, self._job_id
        paths = [reader.workspace(job_id, index) for index in range(reader.count(job_id))]
        return paths if reader.history.header.jobs[job_id] else paths[0]

    def _outputs(self) -> list[Any]:
        return [self._reader.output(self._job_id, index) for index in range(self._reader.count(self._job_id))]


class SentBack:
    """`jobs.GATE` in a template of the job that runs again when the gate is rejected: what was said the last time.

    `index`: of its item, where a gate that is a chain sends back one item at a time.
    """

    def __init__(self, reader: RunReader, gate_id: str, index: int) -> None:
        self._reader = reader
        self._gate_id = gate_id
        self._index = index

    def template_field(self, name: str) -> Any:
        """`message` and `output` (the choice): empty, and None, before the first rejection. Raises KeyError."""
        match name:
            case "message":
                return self._said(lambda answer: answer.message if answer is not None else "")
            case "output":
                return self._said(lambda answer: answer.choice if answer is not None else None)
            case _:
                raise KeyError(name)

    def _said(self, of: Callable[[GateAnswered | None], str | None]) -> Any:
        gate, past = self._reader.job(self._gate_id), self._reader.history.jobs[self._gate_id]

        def each(index: int) -> str | None:
            found = past.gates.get(index)
            return of(found.sent_back if found is not None else None)

        if gate.for_each is None:
            return each(0)
        if isinstance(gate.for_each, ChainSource):
            return each(self._index)
        return [each(index) for index in range(self._reader.count(self._gate_id))]


class ItemContexts:
    """Makes the context of each item of a run."""

    def __init__(self, reader: RunReader, inputs: dict[str, Any]) -> None:
        header = reader.history.header
        self._reader = reader
        self._jobs = {job_id: JobView(reader, job_id) for job_id in header.jobs}
        self._base: dict[str, Any] = {
            "inputs": inputs,
            "run": {"id": header.run_id, "name": header.name, "folder": header.folder},
            "jobs": self._jobs,
        }

    def forget(self, job_ids: Iterable[str]) -> None:
        """These jobs are open again."""
        for job_id in job_ids:
            self._jobs[job_id].forget()

    def _check_output(self, job: Job, index: int, attempt: int) -> str:
        """What the check of the attempt before said, if it failed. Raises CaptureMismatch."""
        if attempt == 1 or (job.check is None and not job.is_agent):
            return ""
        ended = self._reader.history.jobs[job.id].last_end(index)
        return "" if ended is None else check_output(ended.outcome, self._reader.run_dir)

    def for_job(self) -> dict[str, Any]:
        """What a `for_each` sees: no item yet."""
        return dict(self._base)

    def for_item(self, job: Job, index: int, attempt: int) -> dict[str, Any]:
        """What an item's templates see. `label` is added by who renders it first."""
        context: dict[str, Any] = dict(self._base)
        if job.sent_back_by:
            context["jobs"] = {**self._jobs, **{gate: SentBack(self._reader, gate, index) for gate in job.sent_back_by}}
        context["index"] = index
        context["attempt"] = {"number": attempt, "check_output": self._check_output(job, index, attempt)}
        if job.for_each is not None:
            context["item"] = self._reader.value(job.id, index)
        if isinstance(job.for_each, ChainSource):
            parents = job.for_each.jobs
            results = {parent: item_result(self._reader, parent, index) for parent in parents}
            context["parent"] = results[parents[0]] if len(parents) == 1 else results
        return context
