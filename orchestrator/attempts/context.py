"""The names that templates see: `inputs item index label run attempt parent jobs slot device`.

A context is made for each rendering and costs little: what it names is read from the records when a template asks for it.
Outputs are read last, and kept only where a template names all of a job's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

from orchestrator.attempts.items.labels import LabellingJobs
from orchestrator.jobsfile.language.values import LateMapping
from orchestrator.jobsfile.model import ChainSource, Job
from orchestrator.reading.run_records import Records
from orchestrator.reading.seen_statuses import job_status
from orchestrator.store.durable_file import write_whole
from orchestrator.store.gate_records import GateAnswered
from orchestrator.store.records import Status
from orchestrator.workers.byte_text import encode_json

NAMES = {
    "item": "What `for_each` gave for this item: text, a number, a list or a mapping.",
    "index": "The number of the item in its job, from 0.",
    "label": "What the item is called in words.",
    "inputs": "The inputs of the run: `inputs.NAME`.",
    "run": "`run.id`, `run.name`, and `run.folder`, where relative paths start.",
    "jobs": 'The jobs that this one needs, as below: `jobs.lint.output`, `jobs["lint-and-test"].output`.',
    "parent": "In a chain the result of the item that this one follows, with its fields below; of several: `parent.JOB`.",
    "attempt": "`attempt.number`, from 1, and `attempt.check_output`: what the check said of the attempt before, else empty.",
    "creates": "The temporary name of the file that the item is to make.",
    "slot": "The number of the slot, from 0. No other item of the run has it at the same time.",
    "device": "The one of `devices` that the item has to itself.",
    "round": "In a loop the number of the round, from 1.",
    "output": "In a loop what the round before gave, or in `until` this one; null before the first.",
    "exit_code": "In a loop the exit code of that round.",
}
"""What templates of an item may name, and what it stands for."""

JOB_FIELDS = {
    "status": "What has become of the job: `succeeded`, `failed`, `skipped`, …",
    "output": "What its item gave; of a fan-out the list of all outputs.",
    "outputs": "The list of all outputs, also of a job of one item.",
    "results": "The list of all results, each with the fields below.",
    "succeeded": "Of `results` those that succeeded.",
    "failed": "Of `results` those that failed.",
    "results_file": "The path of a JSON file with `results`.",
    "workspace": "The folder of its item's workspace; of a fan-out a list.",
    "message": "Of a gate: what was said with the answer.",
}
"""What a template may read of `jobs.ID`."""


class JobView:
    """`jobs.ID` in a template. Reads the records when a field is asked for; keeps it once the job is closed."""

    def __init__(self, records: Records, job_id: str) -> None:
        self._records = records
        self._job_id = job_id
        self._kept: dict[str, Any] = {}

    def template_field(self, name: str) -> Any:
        """The value of `jobs.ID.name`. Raises KeyError for a name that a job does not have, CaptureMismatch."""
        if name in self._kept:
            return self._kept[name]
        value = self._read_field(name)
        # Until then items may still change what it says.
        if self._records.history.jobs[self._job_id].closed is not None:
            self._kept[name] = value
        return value

    def forget_fields(self) -> None:
        """The job is open again: what was read is no longer so."""
        self._kept.clear()

    def _read_field(self, name: str) -> Any:
        match name:
            case "status":
                return job_status(self._records, self._job_id)
            case "output":
                return self._of_each(self._records.output)
            case "outputs":
                return [self._records.output(self._job_id, index) for index in self._indices()]
            case "results":
                return self._results(None)
            case "succeeded":
                return self._results(Status.SUCCEEDED)
            case "failed":
                return self._results(Status.FAILED)
            case "results_file":
                return self._write_results_file()
            case "message":
                is_gate = self._records.job(self._job_id).is_gate
                return self._of_each(self._records.gate_message) if is_gate else None
            case "workspace":
                return self._of_each(self._records.workspace)
            case _:
                raise KeyError(name)

    def _of_each(self, read: Callable[[str, int], Any]) -> Any:
        """What `read` says of each item; of a job without `for_each` what it says of its one item."""
        found = [read(self._job_id, index) for index in self._indices()]
        return found if self._records.history.header.jobs[self._job_id] else found[0]

    def _indices(self) -> range:
        return range(self._records.count(self._job_id))

    def _results(self, status: Status | None) -> list[LateMapping]:
        """The results of the items, each of which reads its output when it is asked for, and does not keep it."""
        from orchestrator.reading.item_result import item_fields, items_seen_as

        return [
            LateMapping(item_fields(self._records, *item), {"output": partial(self._records.output, *item)})
            for item in items_seen_as(self._records, self._job_id, status)
        ]

    def _write_results_file(self) -> str:
        """Write `results` to a file; its path. Only a cache: made again whenever a template asks for it."""
        from orchestrator.reading.item_result import item_results

        path = self._records.run_dir.results(self._job_id)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, _json_list(item_results(self._records, self._job_id)))
        return str(path)


class SentBack:
    """`jobs.GATE` in a template of the job that runs again when the gate is rejected: what was said the last time.

    `index`: of its item, where a gate that is a chain sends back one item at a time.
    """

    def __init__(self, records: Records, gate_id: str, index: int) -> None:
        self._records = records
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
        """What `of` finds in the answer that sent the item back, in the shape of the gate: one, or a list of all."""
        gate, past = self._records.job(self._gate_id), self._records.history.jobs[self._gate_id]

        def of_item(index: int) -> str | None:
            found = past.gates.get(index)
            return of(found.sent_back if found is not None else None)

        if gate.for_each is None:
            return of_item(0)
        if isinstance(gate.for_each, ChainSource):
            return of_item(self._index)
        return [of_item(index) for index in range(self._records.count(self._gate_id))]


class ItemContexts:
    """Makes the context of each item of a run."""

    def __init__(self, records: Records, inputs: dict[str, Any]) -> None:
        header = records.history.header
        self._records = records
        self._jobs = {job_id: JobView(records, job_id) for job_id in header.jobs}
        self.labelling_jobs = LabellingJobs(records.job)
        self._base: dict[str, Any] = {
            "inputs": inputs,
            "run": {"id": header.run_id, "name": header.name, "folder": header.folder},
            "jobs": self._jobs,
        }

    def forget_jobs(self, job_ids: Iterable[str]) -> None:
        """These jobs are open again."""
        for job_id in job_ids:
            self._jobs[job_id].forget_fields()

    def for_job(self) -> dict[str, Any]:
        """What a `for_each` sees: no item yet."""
        return dict(self._base)

    def for_item(self, job: Job, index: int, attempt: int, slot: int = 0, device: str = "") -> dict[str, Any]:
        """What an item's templates see. `label` is added by the caller, who renders it first. Raises CaptureMismatch.

        `slot` and `device`: what the attempt has to itself; without a start the first that there may be.
        """
        context: dict[str, Any] = dict(self._base)
        # A gate that sent the job back is not answered now: its templates see what was said then.
        if job.sent_back_by:
            context["jobs"] = {**self._jobs, **{gate: SentBack(self._records, gate, index) for gate in job.sent_back_by}}
        context["index"] = index
        context["slot"] = slot
        if job.devices:
            context["device"] = device or job.devices[0]
        context["attempt"] = {"number": attempt, "check_output": self._check_output(job, index) if attempt > 1 else ""}
        if job.for_each is not None:
            context["item"] = self._records.value(job.id, index)
        # A chain item follows the item of the same index in each of these jobs.
        if isinstance(job.for_each, ChainSource):
            parents = job.for_each.jobs
            results = {parent: self._result_of_parent(parent, index) for parent in parents}
            context["parent"] = results[parents[0]] if len(parents) == 1 else results
        return context

    def _check_output(self, job: Job, index: int) -> str:
        """What the check of the attempt before said, if it failed. Raises CaptureMismatch."""
        has_check = job.check is not None or job.is_agent
        return self._records.check_output(job.id, index) if has_check else ""

    def _result_of_parent(self, job_id: str, index: int) -> LateMapping:
        """The result of an item that this one follows. Its output is kept as long as the context: templates name it often."""
        from orchestrator.reading.item_result import item_fields

        output = cache(partial(self._records.output, job_id, index))
        return LateMapping(item_fields(self._records, job_id, index), {"output": output})


def _json_list(values: Iterable[Any]) -> Iterator[bytes]:
    """One list of JSON, in pieces, so that no more than one value need be in memory."""
    before = b"["
    for value in values:
        yield before + encode_json(value)
        before = b","
    yield b"[]" if before == b"[" else b"]"
