"""What a run came to, as structs: the objects of `run --json` and `results --json`.

Times are seconds since the epoch, durations seconds. What does not apply is None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import msgspec

from orchestrator.reading.failure_tails import FailureTails
from orchestrator.reading.item_names import find_items
from orchestrator.reading.item_result import reason_of, shown_result
from orchestrator.reading.many_results import shown_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.records import Status
from orchestrator.store.run_dir import RunDir


class ItemResult(msgspec.Struct, frozen=True, kw_only=True):
    """One item: an object of `results --json`, where `attempt_class` is called `class`.

    `item` is `JOB:INDEX`, or `JOB` without `for_each` (then `index` is 0 and `value` None). `status`: pending, waiting, running,
    succeeded, failed, skipped, cancelled, interrupted. `attempt_class`, `exit_code`, `signal`, the times and the streams are
    those of its last attempt. `stdout` and `stderr` are paths of files, None of a stream that stayed empty. `output` has the
    shape that the job's `output` names, and is None unless the item succeeded. `error` says in words why it did not.
    """

    item: str
    job: str
    index: int
    label: str | None = None
    value: Any = None
    status: str
    attempt_class: str | None = msgspec.field(default=None, name="class")
    exit_code: int | None = None
    signal: int | None = None
    attempts: int
    round: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    duration_s: float | None = None
    stdout: str | None = None
    stderr: str | None = None
    output: Any = None
    token: str | None = None
    deduped_from: str | None = None
    promoted: bool | None = None
    payload_hash: str | None = None
    replaced_by: str | None = None
    child: str | None = None
    """Id of the run of its child file."""
    cost_usd: float | None = None
    """What all its attempts cost in dollars, as far as their agents told; None: no agent told."""
    usage: dict[str, int] | None = None
    """The tokens that all its attempts used, by kind as in `workers.protocol.Usage`; a kind that no agent told is not there."""
    unknown_costs: int | None = None
    """How many of its attempts told no cost."""
    session_id: str | None = None
    agent: str | None = None
    model: str | None = None
    denials: list[str] | None = None
    """What its agent was not allowed to do, a line a denial."""
    notes: list[str] | None = None
    """What is to be known of its success: its agent said nothing, for example, or the condition of its loop never held."""
    workspace: str | None = None
    branch: str | None = None
    commit: str | None = None
    patch: str | None = None
    """The path of a diff: what the item changed in its workspace."""
    artifacts: list[str] | None = None
    """Paths of the files that were kept of its workspace."""
    because: str | None = None
    """Of an item with `creates` why it ran: a file is missing, a source is newer, or has changed."""
    error: str | None = None
    reason: str | None = None
    """`error` in one line; of a failure with the last line that the item wrote, without secrets."""


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `status`: pending, running, waiting, paused, succeeded, failed, skipped, cancelled, interrupted.

    `counts`: status -> items; a job whose `for_each` failed counts as one that failed.
    """

    id: str
    status: str
    counts: dict[str, int]


class RunError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed. `item`: the failing item that comes first in the file; None if no item is the reason (a timeout)."""

    item: str | None
    message: str


class RunSelection(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a run that was selected: `selected` of all listed `items`; of `jobs_left_out` jobs no item is."""

    only: list[str]
    limit: int | None
    items: int
    selected: int
    jobs_left_out: int


class RunResult(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One run: the object of `run --json`, its exit code, and where it lies.

    `status`: completed, failed, paused, cancelled, interrupted; running of a run that is only read; skipped if `overlap="skip"`
    found the living run that this then tells of. `exit_code` is that of the command (0: completed), None while the run goes on.
    `counts`: status of items -> how many. `parent` (`RUN/ITEM`): the item whose child file it runs.
    `directory` is the run's own folder in the home. `cost_usd`: dollars, of the attempts whose cost is known (None: of none);
    `unknown_costs`: so many others. `ledger`: what was spent and saved, None without agents. `reason`: why it is paused.
    """

    run_id: str
    name: str
    status: str
    exit_code: int | None
    jobs_file: str
    started_at: float
    finished_at: float | None
    counts: dict[str, int]
    cost_usd: float | None
    error: RunError | None
    selection: RunSelection | None
    parent: str | None
    jobs: list[JobResult]
    directory: str
    unknown_costs: int = 0
    ledger: dict[str, Any] | None = None
    reason: str | None = None

    @cached_property
    def results(self) -> Results:
        """The items, read from the run's records when they are first asked for. If the run was resumed since, as they are then.

        Raises UserError (the run was pruned), StateRefusedError.
        """
        return Results(RunReader.read(RunDir(Path(self.directory))))


class Results(Sequence[ItemResult]):
    """The items of a run, jobs in file order, each job's items in item order, whichever ended first.

    An item is read from disk when it is asked for, and not kept: a run of 100,000 items costs some bytes an item. If an output
    is damaged, `output` is None and `error` says so.
    """

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader
        self._counts = {job_id: reader.count(job_id) for job_id in reader.history.header.jobs}

    def __len__(self) -> int:
        return sum(self._counts.values())

    def __iter__(self) -> Iterator[ItemResult]:
        return self.where()

    @overload
    def __getitem__(self, place: int) -> ItemResult: ...

    @overload
    def __getitem__(self, place: slice) -> list[ItemResult]: ...

    def __getitem__(self, place: int | slice) -> ItemResult | list[ItemResult]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        index = place + len(self) if place < 0 else place
        for job_id, count in self._counts.items():
            if 0 <= index < count:
                return self._as_struct(shown_result(self._reader, job_id, index))
            index -= count
        raise IndexError(place)

    def where(self, *, job: str | None = None, status: str | None = None) -> Iterator[ItemResult]:
        """The items of one job (KeyError: the run has none of that id), in one state (ValueError: no such state), or both."""
        if job is not None:
            self._counts[job]
        wanted = None if status is None else Status(status)
        return map(self._as_struct, shown_results(self._reader, job, wanted))

    def find(self, reference: str) -> list[ItemResult]:
        """The items that `reference` names, as on the command line: JOB, JOB:INDEX, JOB:LABEL, a glob. Raises UserError."""
        return [self._as_struct(shown_result(self._reader, *found)) for found in find_items(self._reader, reference)]

    def _as_struct(self, result: dict[str, Any]) -> ItemResult:
        # Only of what is no success: a run without a failure needs nothing of secrets and files.
        if result["error"] is not None or result["status"] == Status.FAILED:
            result["reason"] = reason_of(self._reader, self._tails, result)
        return msgspec.convert(result, ItemResult)

    @cached_property
    def _tails(self) -> FailureTails:
        return FailureTails(self._reader.run_dir, self._reader.jobs_file)


def run_result(run_dir: RunDir, summary: dict[str, Any], status: str, exit_code: int | None) -> RunResult:
    """The struct of `summary`, the object of `run --json`."""
    told = {**summary, "status": status, "exit_code": exit_code, "directory": str(run_dir.path)}
    return msgspec.convert(told, RunResult)
