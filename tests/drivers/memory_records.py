"""A run that exists in memory alone: what attempts need of one (`Records`), and a count of the outputs that were read."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from drivers.store_samples import ended, header
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.places import JOURNAL, Place, Sources
from orchestrator.store.records import AttemptEnded, ItemsListed, Record, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.workers.protocol import AttemptClass, Capture


class MemorySources(Sources):
    """Lines that stand in a list: the offset of a place is the number of the line."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def put(self, record: Record) -> int:
        """Keep the line of a record; its offset."""
        self._lines.append(msgspec.json.encode(record))
        return len(self._lines) - 1

    def line(self, place: Place) -> bytes:
        return self._lines[place[1]]

    def record(self, place: Place) -> Record:
        return msgspec.json.decode(self.line(place), type=Record)

    def records(self, places: Iterable[Place | None]) -> Iterator[Record | None]:
        return (None if place is None else self.record(place) for place in places)


class MemoryRecords(Records):
    """A run of `[jobs]` that has just begun; tests append records to it. `is_alive`: somebody supervises it."""

    is_alive = True

    def __init__(self, jobs_text: str, inputs: dict[str, Any] | None = None) -> None:
        self._jobs_file = load_text(jobs_text, path="/nowhere/jobs.toml", folder="/nowhere")
        jobs = {job.id: job.for_each is not None for job in self._jobs_file.jobs}
        self._sources = MemorySources()
        self._values: dict[str, list[Any]] = {}
        self._outputs: dict[str, bytes] = {}
        self._numbers = itertools.count()
        self.run_dir = RunDir(Path("/nowhere/runs/r1"))
        self.history = RunHistory(msgspec.structs.replace(header("r1"), jobs=jobs, inputs=inputs or {}), 1, self._sources)
        self.read: list[bytes] = []
        """The outputs that were read, in order."""

    @property
    def jobs_file(self) -> JobsFile:
        return self._jobs_file

    def job(self, job_id: str) -> Job:
        return next(job for job in self._jobs_file.jobs if job.id == job_id)

    def values(self, job_id: str) -> list[Any]:
        return self._values[job_id]

    def read_capture(self, capture: Capture) -> bytes:
        if capture.size == 0:
            return b""
        if capture.path not in self._outputs:
            raise CaptureMismatch(f"{capture.path}: No such file or directory")
        self.read.append(self._outputs[capture.path])
        return self.read[-1]

    # What happened.

    def append(self, *records: Record) -> None:
        """These were recorded."""
        for record in records:
            self.history.apply(record, JOURNAL, self._sources.put(record), 1)

    def list_items(self, job_id: str, values: list[Any]) -> None:
        """The items of a job with `for_each` are known."""
        self._values[job_id] = values
        self.append(ItemsListed(job=job_id, count=len(values)))

    def end_attempt(
        self, job_id: str, index: int = 0, output: bytes = b"out\n", *, succeeded: bool = True, attempt: int = 1, number: int = 0
    ) -> AttemptEnded:
        """An attempt wrote `output` and ended. `number`: the round of a loop that it was."""
        path = f"/nowhere/{next(self._numbers)}"
        self._outputs[path] = output
        status = Status.SUCCEEDED if succeeded else Status.FAILED
        record = ended(index, attempt, status, job_id, round_number=number)
        outcome = msgspec.structs.replace(record.outcome, stdout=Capture(size=len(output), path=path))
        assert (outcome.attempt_class is AttemptClass.OK) is succeeded
        record = msgspec.structs.replace(record, outcome=outcome)
        self.append(record)
        return record

    def lose_output(self, record: AttemptEnded) -> None:
        """Somebody removed the file of that output."""
        assert record.outcome.stdout.path is not None
        del self._outputs[record.outcome.stdout.path]
