"""Results of many items, for people: most items are plain, and a million of these are read without what only others need.

Promise: each is what `shown_result` gives for the item, key by key. An item is plain if a command made it, and its last end tells
all of it: nothing has settled it, or begun anew, since.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

import msgspec

from orchestrator.jobsfile.model import OutputKind
from orchestrator.reading.item_result import RESULT_FIELDS, Reads, indices_seen_as, shown_result
from orchestrator.reading.run_records import Records, item_id
from orchestrator.reading.seen_statuses import seen_status
from orchestrator.store.item_list import ItemList, ListLostError
from orchestrator.store.outputs import shape_output
from orchestrator.store.records import AttemptEnded, Record, Status
from orchestrator.workers.protocol import AttemptClass

_ITEMS_OF_A_PART = 1024


class PlainResult(msgspec.Struct, gc=False, rename={"class_": "class"}):
    """The result of a plain item, as JSON the same as that of a dict, and quicker: RESULT_FIELDS, in their order.

    None of its texts is large: an output is not if it stands in the records.
    """

    item: str
    job: str
    index: int
    label: str
    value: Any
    status: str
    class_: str
    exit_code: int | None
    signal: int | None
    attempts: int
    round: None
    started_at: float | str | None
    finished_at: float | str | None
    duration_s: float
    stdout: str | None
    stderr: str | None
    output: Any
    token: str | None
    deduped_from: str | None
    promoted: bool | None
    payload_hash: str | None
    replaced_by: None = None
    child: str | None = None
    cost_usd: None = None
    usage: None = None
    unknown_costs: None = None
    session_id: None = None
    agent: None = None
    model: None = None
    denials: None = None
    notes: list[str] | None = None
    workspace: None = None
    branch: None = None
    commit: None = None
    patch: None = None
    artifacts: None = None
    because: str | None = None
    error: str | None = None
    reason: None = None
    started_at_s: float | None = None
    finished_at_s: float | None = None
    """These three of `orchestrate results` alone, which tells `started_at` and `finished_at` in words. What has a reason is no
    plain result there."""

    def texts(self) -> tuple[Any, ...]:
        """All of it in which somebody else's words may be."""
        return (
            *(self.item, self.label, self.value, self.stdout, self.stderr, self.output),
            *(self.token, self.deduped_from, self.payload_hash, self.child, self.notes, self.because, self.error),
        )


def as_dict(result: PlainResult) -> dict[str, Any]:
    """As `shown_result` gives it, whose times are numbers."""
    return dict(zip(RESULT_FIELDS, msgspec.structs.astuple(result), strict=False))


def shown_results(
    records: Records, job_id: str | None = None, status: Status | None = None, *, with_output: Reads = True
) -> Iterator[dict[str, Any]]:
    """The `shown_result` of each item, of one job or of all in file order, that is seen in one status or in any.

    The history must not change meanwhile.
    """
    for each in [job_id] if job_id is not None else records.history.header.jobs:
        results = _results_of(_PlainResults(records, each, with_output), indices_seen_as(records, each, status))
        for result in results:
            yield as_dict(result) if isinstance(result, PlainResult) else result


def results_to_encode(records: Records, *, with_output: Reads = True) -> list[Iterator[dict[str, Any] | PlainResult]]:
    """The `shown_result` of each item, for JSON, in parts of some hundred items. A part is made when it is iterated, in any order
    and without those before it."""
    return [
        _results_of(plain, range(first, min(first + _ITEMS_OF_A_PART, records.count(job_id))))
        for job_id in records.history.header.jobs
        for plain in [_PlainResults(records, job_id, with_output)]
        for first in range(0, records.count(job_id), _ITEMS_OF_A_PART)
    ]


def _results_of(plain: _PlainResults, indices: Iterable[int]) -> Iterator[dict[str, Any] | PlainResult]:
    """The results of these items of the job of `plain`."""
    # Values and ends are read some thousand bytes ahead.
    here, of_values, of_ends = itertools.tee(indices, 3) if not isinstance(indices, range) else (indices, indices, indices)
    for index, value, ended in zip(here, plain.values(of_values), plain.ends(of_ends), strict=True):
        try:
            result = plain.result(index, value, ended) if isinstance(ended, AttemptEnded) else None
        except Exception:
            result = None  # `shown_result` meets the same, and tells of it
        yield result if result is not None else plain.other(index)


class _PlainResults:
    """Of one job."""

    def __init__(self, records: Records, job_id: str, with_output: Reads) -> None:
        history = records.history
        self._records = records
        self._job_id = job_id
        self._is_fan_out = history.header.jobs[job_id]
        self._past = past = history.jobs[job_id]
        self._with_output = with_output
        self._others = {index for job, index in history.open_starts if job == job_id} | past.unended.keys()
        """Items of which a start says more than the last end."""
        self._has_none = bool(past.gates or past.rounds)

    def values(self, indices: Iterable[int]) -> Iterable[Any]:
        """The values of these items. If the list is lost, no item is plain."""
        if self._is_fan_out:
            try:
                values = self._records.values(self._job_id)
            except ListLostError:
                self._has_none = True
            else:
                # Those that stand one behind the other are read many at a time.
                if isinstance(indices, range) and isinstance(values, ItemList):
                    return values.between(indices.start, indices.stop)
                return map(values.__getitem__, indices)
        return (None for _ in indices)

    def ends(self, indices: Iterable[int]) -> Iterator[Record | None]:
        """See `JobHistory.unsettled_ends`."""
        return self._past.unsettled_ends(indices)

    def other(self, index: int) -> dict[str, Any]:
        """The result of an item that is not plain."""
        return shown_result(self._records, self._job_id, index, with_output=self._with_output)

    def result(self, index: int, value: Any, ended: AttemptEnded) -> PlainResult | None:
        """The result of an item with this value, on which `ended` is the last word; None: it is not plain.

        What it raises, `shown_result` tells.
        """
        outcome, label, capture = ended.outcome, ended.label, ended.outcome.stdout
        if self._has_none or label is None or index in self._others:
            return None
        if outcome.agent is not None or outcome.workspace is not None or ended.workspace or ended.spent is not None:
            return None
        if capture.inline is None and capture.size:
            return None  # its output is in a file
        is_ok = outcome.attempt_class is AttemptClass.OK
        status = self._past.status(index)
        output = None
        if is_ok and self._with_output:
            # Most commands say nothing.
            is_empty = capture.inline is None and self._output_kind == "text"
            output = "" if is_empty else shape_output(outcome, self._output_kind, capture.inline or b"")
        message = outcome.message or None
        # By place, in the order of its fields: by name a million takes a second more.
        return PlainResult(
            item_id(self._job_id, index, is_fan_out=self._is_fan_out),
            self._job_id,
            index,
            label,
            value,
            "succeeded" if status is Status.SUCCEEDED else seen_status(self._records, status),
            "ok" if is_ok else outcome.attempt_class.value,
            outcome.exit_code,
            outcome.signal,
            ended.attempt,
            None,
            outcome.started_at,
            outcome.finished_at,
            round(outcome.duration_seconds, 6),
            capture.path,
            outcome.stderr.path,
            output,
            ended.token,
            ended.deduped_from,
            None if ended.token is None else ended.promotions > 0,
            ended.payload or None,
            child=ended.child or None,
            notes=[message] if message and is_ok else None,
            because=ended.because or None,
            error=None if is_ok else message,
            started_at_s=outcome.started_at,
            finished_at_s=outcome.finished_at,
        )

    @cached_property
    def _output_kind(self) -> OutputKind:
        return self._records.job(self._job_id).output
