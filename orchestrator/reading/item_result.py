"""What an item came to, as one object: `results --json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.reading.item_names import label_of
from orchestrator.reading.money.ledger import ledger_of_item, usage_json
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.seen_statuses import seen_status
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.outcomes import in_words
from orchestrator.store.records import AttemptEnded, ItemSettled, Status
from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome, WorkspaceReport

RESULT_FIELDS = (
    *("item", "job", "index", "label", "value", "status", "class", "exit_code", "signal", "attempts"),
    *("round", "started_at", "finished_at", "duration_s", "stdout", "stderr", "output"),
    *("token", "deduped_from", "promoted", "payload_hash", "replaced_by"),
    *("child", "cost_usd", "usage", "unknown_costs", "session_id", "agent", "model", "denials"),
    *("workspace", "branch", "commit", "patch", "artifacts", "error"),
)
"""Keys of one result, in order. What does not apply is null."""


def item_result(reader: RunReader, job_id: str, index: int, *, forgives: bool = False) -> dict[str, Any]:
    """One object of `results --json`. An output that is not what was recorded raises CaptureMismatch.

    `forgives`: a person asks, and shall see the rest. Then the output is null and `error` tells what is wrong with it.
    """
    past = reader.history.jobs[job_id]
    result = _result_at(reader, job_id, index, past.last_end(index), forgives=forgives)
    record = past.record(index)
    if past.gates and result["status"] == Status.SUCCEEDED:
        return result  # its message is the choice
    if isinstance(record, ItemSettled) and record.message and past.status(index) is not Status.PENDING:
        result["error"] = record.message
    if past.is_void(index) and not past.gates:
        result["output"] = None
    return result


def round_results(reader: RunReader, job_id: str, index: int, *, forgives: bool = False) -> Iterator[dict[str, Any]]:
    """Of an item of a loop: a `result` for each round that it has done, called `JOB:INDEX#ROUND`."""
    past = reader.history.jobs[job_id]
    for number in range(1, past.rounds_done(index) + 1):
        ended = past.round_end(index, number)
        assert ended is not None
        result = _result_at(reader, job_id, index, ended, forgives=forgives, of_round=True)
        result.update(
            item=f"{result['item']}#{number}",
            status="succeeded" if ended.outcome.attempt_class is AttemptClass.OK else "failed",
            attempts=ended.attempt,
            round=number,
            child=ended.child or None,
        )
        yield result


def item_results(
    reader: RunReader, job_id: str | None = None, status: Status | None = None, *, forgives: bool = False
) -> Iterator[dict[str, Any]]:
    """Each `result` in item order, of one job or of all in file order, of one status or of all."""
    for each in [job_id] if job_id is not None else reader.history.header.jobs:
        for index in _indices(reader, each, status):
            yield item_result(reader, each, index, forgives=forgives)


def _result_at(
    reader: RunReader, job_id: str, index: int, ended: AttemptEnded | None, *, forgives: bool, of_round: bool = False
) -> dict[str, Any]:
    """What item `index` is, with the end `ended` of one of its attempts. `of_round`: costs are those of that round alone."""
    past = reader.history.jobs[job_id]
    record = past.record(index)
    result: dict[str, Any] = dict.fromkeys(RESULT_FIELDS)
    result.update(
        item=reader.item_name(job_id, index),
        job=job_id,
        index=index,
        label=label_of(reader, job_id, index, record),
        value=reader.value(job_id, index),
        status=seen_status(reader, past.status(index), is_asking=past.is_asking(index)),
        output=reader.choice(job_id, index),
        attempts=past.attempts(index),
        round=past.rounds_done(index) or None,
        **_identity(reader, job_id, index, record, ended),
    )
    if ended is not None:
        outcome = ended.outcome
        result.update(
            {"class": outcome.attempt_class.value},
            exit_code=outcome.exit_code,
            signal=outcome.signal,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
            duration_s=round(outcome.duration_seconds, 6),
            stdout=outcome.stdout.path,
            stderr=outcome.stderr.path,
            error=_error_of(outcome),
            **_agent_part(outcome.agent),
            **_spent_part(ended, past.round_end(index, ended.round - 1) if of_round else None),
            **_workspace_part(outcome.workspace),
            workspace=reader.workspace(job_id, index),
        )
        try:
            result["output"] = reader.output_of_end(job_id, ended)
        except CaptureMismatch as mismatch:
            if not forgives:
                raise
            result["error"] = str(mismatch)
    return result


def _indices(reader: RunReader, job_id: str, status: Status | None) -> Iterable[int]:
    """The items that are seen with this status, in order."""
    recorded = [each for each in Status if status is None or seen_status(reader, each) == status.value]
    past, count = reader.history.jobs[job_id], reader.count(job_id)
    if len(recorded) == 1 and past.count is not None:
        return past.indices(recorded[0])
    return (index for index in range(count) if past.status(index) in recorded)


def _identity(
    reader: RunReader, job_id: str, index: int, record: AttemptEnded | ItemSettled | None, ended: AttemptEnded | None
) -> dict[str, Any]:
    """Which work the item is, and who did it: of the attempt that runs, else as it was recorded last."""
    past = reader.history.jobs[job_id]
    start = reader.history.open_starts.get((job_id, index)) or past.unended.get(index)
    latest = start or ended
    settled = record if isinstance(record, ItemSettled) else None
    token = next((each.token for each in (start, settled, ended) if each is not None and each.token is not None), None)
    payloads = (start,) if start is not None else (settled, ended)
    return {
        "token": token,
        "deduped_from": latest.deduped_from if isinstance(latest, AttemptEnded) else None,
        "promoted": None if token is None else latest is not None and latest.promotions > 0,
        "payload_hash": next((each.payload for each in payloads if each is not None and each.payload), None),
        "replaced_by": settled.replaced_by if settled is not None else None,
        "child": (latest.child or None) if latest is not None else None,
    }


def _error_of(outcome: Outcome) -> str | None:
    is_agents_success = outcome.agent is not None and outcome.attempt_class is AttemptClass.OK
    return None if is_agents_success else in_words(outcome) or None


def _workspace_part(report: WorkspaceReport | None) -> dict[str, Any]:
    """What was kept of the workspace of its last attempt."""
    if report is None:
        return {}
    return {
        "branch": report.branch,
        "commit": report.commit,
        "patch": report.patch.path,
        "artifacts": report.artifacts,
    }


def _spent_part(ended: AttemptEnded, round_before: AttemptEnded | None) -> dict[str, Any]:
    """What all attempts of the item have cost so far, or those since the round before."""
    if ended.spent is None:
        return {}
    ledger = ledger_of_item(ended.spent, round_before.spent if round_before is not None else None)
    return {"cost_usd": ledger.cost_usd, "usage": usage_json(ledger.usage), "unknown_costs": ledger.unknown}


def _agent_part(report: AgentReport | None) -> dict[str, Any]:
    """What an agent told of its last attempt."""
    if report is None:
        return {}
    return {
        "agent": report.agent,
        "model": report.model,
        "session_id": report.session_id,
        "denials": report.denials,
    }
