"""Results of many items, for people: most items are plain, and a million of these are read without what only others need.

Promise: each is what `shown_result` gives for the item, key by key. An item is plain if a command made it, and its last end tells
all of it: nothing has settled it, or begun anew, since.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from orchestrator.jobsfile.model import OutputKind
from orchestrator.reading.item_result import RESULT_FIELDS, Reads, indices_seen_as, shown_result
from orchestrator.reading.run_records import Records, item_id
from orchestrator.reading.seen_statuses import seen_status
from orchestrator.store.item_list import ListLostError
from orchestrator.store.outputs import shape_output
from orchestrator.store.records import AttemptEnded, Status
from orchestrator.workers.protocol import AttemptClass


def shown_results(
    records: Records, job_id: str | None = None, status: Status | None = None, *, with_output: Reads = True
) -> Iterator[dict[str, Any]]:
    """The `shown_result` of each item, of one job or of all in file order, that is seen in one status or in any.

    The history must not change meanwhile.
    """
    for each in [job_id] if job_id is not None else records.history.header.jobs:
        yield from _of_job(records, each, indices_seen_as(records, each, status), with_output)


def _of_job(records: Records, job_id: str, indices: Iterable[int], with_output: Reads) -> Iterator[dict[str, Any]]:
    plain = _PlainResults(records, job_id, with_output)
    # Values and ends are read some thousand bytes ahead.
    here, of_values, of_ends = itertools.tee(indices, 3) if not isinstance(indices, range) else (indices, indices, indices)
    ends = records.history.jobs[job_id].unsettled_ends(of_ends)
    for index, value, ended in zip(here, plain.values(of_values), ends, strict=True):
        try:
            result = plain.result(index, value, ended) if isinstance(ended, AttemptEnded) else None
        except Exception:
            result = None  # `shown_result` meets the same, and tells of it
        yield result if result is not None else shown_result(records, job_id, index, with_output=with_output)


class _PlainResults:
    """Of one job."""

    def __init__(self, records: Records, job_id: str, with_output: Reads) -> None:
        history = records.history
        self._records = records
        self._job_id = job_id
        self._is_fan_out = history.header.jobs[job_id]
        self._past = past = history.jobs[job_id]
        self._with_output = bool(with_output)
        self._nothing: dict[str, Any] = {**dict.fromkeys(RESULT_FIELDS), "job": job_id}
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
                # All of them in their order are read many at a time.
                return values if indices == range(len(values)) else map(values.__getitem__, indices)
        return (None for _ in indices)

    def result(self, index: int, value: Any, ended: AttemptEnded) -> dict[str, Any] | None:
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
        result = self._nothing.copy()
        # What the item is.
        result["item"] = item_id(self._job_id, index, is_fan_out=self._is_fan_out)
        result["index"] = index
        result["label"] = label
        result["value"] = value
        result["status"] = "succeeded" if status is Status.SUCCEEDED else seen_status(self._records, status)
        result["attempts"] = ended.attempt
        if ended.token is not None:
            result["token"] = ended.token
            result["promoted"] = ended.promotions > 0
        result["deduped_from"] = ended.deduped_from
        result["payload_hash"] = ended.payload or None
        result["child"] = ended.child or None
        # What its attempt came to.
        result["class"] = "ok" if is_ok else outcome.attempt_class.value
        result["exit_code"] = outcome.exit_code
        result["signal"] = outcome.signal
        result["started_at"] = outcome.started_at
        result["finished_at"] = outcome.finished_at
        result["duration_s"] = round(outcome.duration_seconds, 6)
        result["stdout"] = capture.path
        result["stderr"] = outcome.stderr.path
        if outcome.message:
            result.update({"notes": [outcome.message]} if is_ok else {"error": outcome.message})
        if is_ok and self._with_output:
            result["output"] = shape_output(outcome, self._output_kind, capture.inline or b"")
        return result

    @cached_property
    def _output_kind(self) -> OutputKind:
        return self._records.job(self._job_id).output
