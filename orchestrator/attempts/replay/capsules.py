"""A capsule of a run: what its agents were told, wrote and changed, without secrets, in one archive that `run --replay` plays.

Promise: the same run gives the same bytes, as long as the same secrets are known. Nothing is in it that was not redacted; only
what is redacted differs from what lies in the run's folder.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from orchestrator.attempts.replay.archive import FILES, FORMAT, INDEX, Capsule, CapsuleAttempt, CapsuleWriter, sum_of
from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_records import Records
from orchestrator.reading.shown_redactor import redactor_of
from orchestrator.store.captures import CaptureMismatch, capture_path
from orchestrator.workers.agents.attempt_record import AttemptRecord, kept_record, record_of, record_path
from orchestrator.workers.byte_text import encode_json
from orchestrator.workers.protocol import Capture, Outcome

_BLOCK_BYTES = 1 << 20
_IN_MEMORY_BYTES = 4 << 20


class CapsuleMaker:
    """Of one run, which may still go on: attempts that have not ended are not in it."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._redactor = redactor_of(records)
        self._paths: dict[str, dict[str, Path]] = {}
        """Of each attempt's folder in the archive: its files, by name."""

    @property
    def unseen_jobs(self) -> list[str]:
        """Jobs whose agents may have changed files of which nobody kept a patch."""
        jobs = self._records.jobs_file.jobs
        return [job.id for job in jobs if job.is_agent and job.allowed != "read" and job.workspace.kind == "shared"]

    def write(self, target: IO[bytes]) -> Capsule:
        """Write the archive; what is in it. Raises OSError."""
        # The index stands first: a reader refuses a newer format before it unpacks anything.
        capsule = self._index()
        writer = CapsuleWriter(target)
        writer.add_bytes(INDEX, encode_json(self._without_secrets(capsule)) + b"\n")
        # What the run was to do: the jobs file and the lists of items as they are now.
        run_dir, history = self._records.run_dir, self._records.history
        self._add(writer, "jobs.toml", run_dir.jobs_toml(history.header.revision))
        for job_id, is_fan_out in history.header.jobs.items():
            path = run_dir.items(job_id, history.jobs[job_id].list_revision)
            if is_fan_out and path.exists():
                self._add(writer, f"items/{job_id}.jsonl", path)
        # What each attempt was told and wrote.
        for attempt in capsule.attempts:
            for name in attempt.files:
                with self._content(attempt, name) as (content, size):
                    writer.add(f"{attempt.folder}/{name}", content, size)
        writer.close()
        return capsule

    def _without_secrets(self, capsule: Capsule) -> Capsule:
        """Redact only what somebody wrote, never the names by which the archive is read: a password may be an ordinary word."""
        return msgspec.structs.replace(
            capsule,
            name=self._redactor.redact_text(capsule.name),
            inputs=self._texts(capsule.inputs),
            attempts=[
                msgspec.structs.replace(each, label=self._texts(each.label), record=self._record(each.record))
                for each in capsule.attempts
            ],
        )

    def _record(self, record: AttemptRecord) -> AttemptRecord:
        agent = record.agent
        if agent is not None:
            told = {name: self._texts(getattr(agent, name)) for name in ("model", "session_id", "denials")}
            agent = msgspec.structs.replace(agent, **told)
        message, told_to = self._redactor.redact_text(record.message), self._texts(record.told)
        return msgspec.structs.replace(record, asked=self._texts(record.asked), told=told_to, message=message, agent=agent)

    def _texts(self, value: Any) -> Any:
        """The value with all texts in it redacted."""
        match value:
            case str():
                return self._redactor.redact_text(value)
            case list():
                return [self._texts(each) for each in value]
            case dict():
                return {name: self._texts(each) for name, each in value.items()}
            case _:
                return value

    def _index(self) -> Capsule:
        """What the archive holds, in the order of jobs, items and attempts; `_paths` tells afterwards where the files lie."""
        header = self._records.history.header
        attempts: list[CapsuleAttempt] = []
        missing: list[str] = []
        for job in self._records.jobs_file.jobs:
            if not job.is_agent:
                continue
            # An attempt of which nothing was kept is named: a replay says then why it cannot go on.
            for index in range(self._records.count(job.id)):
                missing += self._taken_over(job.id, index)
                for number in range(1, self._records.history.jobs[job.id].attempts(index) + 1):
                    found = self._attempt(job.id, index, number)
                    if found is not None:
                        attempts.append(found)
                    else:
                        missing.append(f"{self._records.item_name(job.id, index)}, attempt {number}")
        return Capsule(
            format=FORMAT,
            run_id=header.run_id,
            name=header.name,
            jobs_file=os.path.basename(header.jobs_file),
            created_at=header.created_at,
            inputs=header.inputs,
            attempts=attempts,
            missing=missing,
        )

    def _taken_over(self, job_id: str, index: int) -> list[str]:
        """In words, if another run did the item's work: its attempts are that run's."""
        ended = self._records.history.jobs[job_id].last_end(index)
        origin = ended.deduped_from if ended is not None else None
        if origin is None or origin.partition("/")[0] == self._records.run_dir.run_id:
            return []
        return [f"{self._records.item_name(job_id, index)}, which {origin} did"]

    def _attempt(self, job_id: str, index: int, number: int) -> CapsuleAttempt | None:
        """The attempt, as far as it was kept; None if nothing was, or it has not ended yet."""
        stdout, stderr = self._records.run_dir.output_paths(job_id, index, number)
        stem = stdout.removesuffix("stdout")
        ended = self._records.history.jobs[job_id].last_end(index)
        outcome = ended.outcome if ended is not None and ended.attempt == number else None
        record = kept_record(record_path(stdout)) or (record_of(outcome) if outcome is not None else None)
        if record is None:
            return None
        paths = {"stdout": Path(stdout), "stderr": Path(stderr), **{name: Path(stem + name) for name in FILES[3:]}}
        paths |= dict(self._captures(outcome)) if outcome is not None else {}
        paths = {name: path for name, path in paths.items() if path.is_file()}
        label = label_of(self._records, job_id, index, ended)
        files = [name for name in FILES if name in paths or (name == "told" and record.told is not None)]
        made = CapsuleAttempt(job=job_id, index=index, attempt=number, record=record, label=label, files=files)
        self._paths[made.folder] = paths
        return self._with_sums(made)

    def _captures(self, outcome: Outcome) -> Iterator[tuple[str, Path]]:
        """Where the outcome says that its captures lie: one that was taken over from another run has them elsewhere."""
        report, workspace = outcome.agent, outcome.workspace
        captures: dict[str, Capture | None] = {
            "stdout": outcome.stdout,
            "stderr": outcome.stderr,
            "check": outcome.check,
            "answer": report.text if report is not None else None,
            "patch": workspace.patch if workspace is not None else None,
        }
        for name, capture in captures.items():
            if capture is not None and capture.size:
                try:
                    yield name, capture_path(capture, self._records.run_dir)
                except CaptureMismatch:
                    # The capture stands in the record alone: its file lies in its usual place, or was lost with the power.
                    continue

    def _add(self, writer: CapsuleWriter, name: str, path: Path) -> None:
        """Add a file, redacted."""
        with self._redacted(path) as (content, size):
            writer.add(name, content, size)

    @contextmanager
    def _content(self, attempt: CapsuleAttempt, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """One of the files of an attempt as it stands in the archive, and its size."""
        if name == "told":
            told = self._redactor.redact((attempt.record.told or "").encode("utf-8", "surrogatepass"))
            yield io.BytesIO(told), len(told)
            return
        with self._redacted(self._paths[attempt.folder][name]) as found:
            yield found

    @contextmanager
    def _redacted(self, path: Path) -> Iterator[tuple[IO[bytes], int]]:
        """The file without secrets, and its size, which stands before it in the archive: redaction changes sizes."""
        stream = self._redactor.stream()
        with path.open("rb") as source, tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as redacted:
            while block := source.read(_BLOCK_BYTES):
                redacted.write(stream.feed(block))
            redacted.write(stream.close())
            size = redacted.tell()
            redacted.seek(0)
            yield redacted, size

    def _with_sums(self, attempt: CapsuleAttempt) -> CapsuleAttempt:
        # Each file is redacted twice: the index stands before what it tells of, and aside a large run would take as much room.
        sums = {}
        for name in attempt.files:
            with self._content(attempt, name) as (content, _):
                sums[name] = sum_of(content)
        return msgspec.structs.replace(attempt, sums=sums)


def described(capsule: Capsule) -> dict[str, Any]:
    """What a program is told of it."""
    return {"run_id": capsule.run_id, "format": capsule.format, "attempts": len(capsule.attempts), "missing": capsule.missing}
