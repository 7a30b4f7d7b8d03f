"""What an item came to, as one object: `results --json`.

A result has all keys of RESULT_FIELDS, in order. Its output may be large and is read last: `item_fields` leaves it out, so a
list of 100,000 items costs the same whatever they wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import UserError
from orchestrator.reading.item_names import label_of
from orchestrator.reading.large_output import output_of_end_in_pieces
from orchestrator.reading.money.ledger import ledger_of_item, usage_json
from orchestrator.reading.run_records import Records
from orchestrator.reading.seen_statuses import seen_status
from orchestrator.store.captures import CaptureMismatch, check_capture_stands
from orchestrator.store.item_list import ListLostError
from orchestrator.store.job_history import JobHistory
from orchestrator.store.outcomes import notes_of, outcome_in_words
from orchestrator.store.outputs import answer_capture
from orchestrator.store.records import AttemptEnded, ItemSettled, Status
from orchestrator.system.fence import fenced_words, log_fenced
from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome, WorkspaceReport

if TYPE_CHECKING:
    from orchestrator.reading.failure_tails import FailureTails

RESULT_FIELDS = (
    *("item", "job", "index", "label", "value", "status", "class", "exit_code", "signal", "attempts"),
    *("round", "started_at", "finished_at", "duration_s", "stdout", "stderr", "output"),
    *("token", "deduped_from", "promoted", "payload_hash", "replaced_by"),
    *("child", "cost_usd", "usage", "unknown_costs", "session_id", "agent", "model", "denials", "notes"),
    *("workspace", "branch", "commit", "patch", "artifacts", "because", "error"),
)
"""Keys of one result, in order. What does not apply is null."""

Reads = bool | Literal["in pieces"]
"""Whether, and how, an output is read."""


def items_seen_as(records: Records, job_id: str | None = None, status: Status | None = None) -> Iterator[tuple[str, int]]:
    """The items (job id, index) in item order, of one job or of all in file order, that are seen in one status or in any."""
    for each in [job_id] if job_id is not None else records.history.header.jobs:
        for index in indices_seen_as(records, each, status):
            yield each, index


def item_results(records: Records, job_id: str | None = None) -> Iterator[dict[str, Any]]:
    """The `item_result` of each of `items_seen_as`; one at a time is in memory. Raises CaptureMismatch."""
    return (item_result(records, *item) for item in items_seen_as(records, job_id))


def item_result(records: Records, job_id: str, index: int) -> dict[str, Any]:
    """One object of `results --json`. Raises CaptureMismatch: the output is not what was recorded."""
    result = item_fields(records, job_id, index)
    result["output"] = records.output(job_id, index)
    return result


def shown_result(records: Records, job_id: str, index: int, *, with_output: Reads = True) -> dict[str, Any]:
    """`item_result` for people, who shall see the rest of an item whose output is damaged, and all other items: `error` then
    tells of the damage, or of our bug.

    `with_output="in pieces"`: a large output is a `LargeOutput`. `False`: the output is null, and no capture is opened. Then
    damage is a file that is missing or has another size.
    """
    try:
        return _shown_result(records, job_id, index, with_output=with_output)
    except UserError:
        raise
    except Exception as error:
        return _told_of_bug(records, job_id, index, error)


def _shown_result(records: Records, job_id: str, index: int, *, with_output: Reads) -> dict[str, Any]:
    value, lost = _shown_value(records, job_id, index)
    past = records.history.jobs[job_id]
    ended = past.last_end(index)
    result = _fields(records, job_id, index, value, ended)
    result["error"] = result["error"] or lost
    try:
        if past.gates:
            result["output"] = records.output(job_id, index) if with_output else None
        elif ended is None or past.is_void(index):
            pass
        elif with_output == "in pieces":
            result["output"] = output_of_end_in_pieces(records, job_id, ended.outcome)
        elif with_output:
            result["output"] = records.output_of_end(job_id, ended.outcome)
        else:
            _check_output_stands(records, ended)
    except CaptureMismatch as mismatch:
        # What a supervisor said of the item when it settled it says more than what became of a file since.
        result["error"] = _settled_message(past, index, past.record(index)) or str(mismatch)
    return result


def _told_of_bug(records: Records, job_id: str, index: int, error: Exception) -> dict[str, Any]:
    """The result of an item that cannot be shown: what it is called and what it is."""
    name = records.item_name(job_id, index)
    log_fenced(records.run_dir.log, f"{name}: it could not be shown", error)
    status = seen_status(records, records.history.jobs[job_id].status(index))
    told = {"item": name, "job": job_id, "index": index, "status": status, "attempts": 0, "denials": []}
    return {**dict.fromkeys(RESULT_FIELDS), **told, "error": f"it cannot be shown: {fenced_words(error)}"}


def reason_of(records: Records, tails: FailureTails, result: dict[str, Any]) -> str | None:
    """In one line why the item of this result is no success; of a failure the last line that it wrote stands behind its error."""
    reason: str | None = result["error"]
    if result["status"] == "failed":
        from orchestrator.views.failures import short_reason

        ended = records.history.jobs[result["job"]].last_end(result["index"])
        # A round of a loop is not the last end of its item, nor is an end that was settled since.
        is_last = ended is not None and ended.attempt == result["attempts"] and ended.outcome.message in (reason or "")
        reason = short_reason(reason or "", tails.of(ended) if ended is not None and is_last else [])
    return None if reason is None else reason.replace("\n", " ")


def shown_rounds(records: Records, job_id: str, index: int, *, with_output: Reads = True) -> Iterator[dict[str, Any]]:
    """Of an item of a loop: a `shown_result` for each round that it has done, called `JOB:INDEX#ROUND`."""
    try:
        yield from _shown_rounds(records, job_id, index, with_output=with_output)
    except UserError:
        raise
    except Exception as error:
        yield _told_of_bug(records, job_id, index, error)


def _shown_rounds(records: Records, job_id: str, index: int, *, with_output: Reads) -> Iterator[dict[str, Any]]:
    past = records.history.jobs[job_id]
    value, lost = _shown_value(records, job_id, index)
    for number in range(1, past.rounds_done(index) + 1):
        ended = past.round_end(index, number)
        assert ended is not None
        result = _fields_at(records, job_id, index, value, ended, past.record(index))
        result["error"] = result["error"] or lost
        # Spent is told as a sum over the item's attempts: a round has spent what came on top of the one before.
        result.update(
            _spent_part(ended, past.round_end(index, number - 1)),
            item=f"{result['item']}#{number}",
            status="succeeded" if ended.outcome.attempt_class is AttemptClass.OK else "failed",
            attempts=ended.attempt,
            round=number,
            child=ended.child or None,
        )
        try:
            if with_output == "in pieces":
                result["output"] = output_of_end_in_pieces(records, job_id, ended.outcome)
            elif with_output:
                result["output"] = records.output_of_end(job_id, ended.outcome)
            else:
                _check_output_stands(records, ended)
        except CaptureMismatch as mismatch:
            result["error"] = str(mismatch)
        yield result


def item_fields(records: Records, job_id: str, index: int) -> dict[str, Any]:
    """The result of an item but for its output, which is None here whatever it is: no capture is opened.

    Raises CaptureMismatch: its value is lost.
    """
    value = records.value(job_id, index)
    return _fields(records, job_id, index, value, records.history.jobs[job_id].last_end(index))


def _shown_value(records: Records, job_id: str, index: int) -> tuple[Any, str | None]:
    """The value of an item, and in words why it is not known: people shall see the rest."""
    try:
        return records.value(job_id, index), None
    except ListLostError as lost:
        return None, str(lost)


def _fields(records: Records, job_id: str, index: int, value: Any, ended: AttemptEnded | None) -> dict[str, Any]:
    """The result but for its output. `ended`: the end of the item's last attempt."""
    past = records.history.jobs[job_id]
    record = past.record(index)
    result = _fields_at(records, job_id, index, value, ended, record)
    # Of a gate that somebody answered the settlement's message is the choice, which is its output.
    if not (past.gates and result["status"] == Status.SUCCEEDED):
        result["error"] = _settled_message(past, index, record) or result["error"]
    return result


def _fields_at(
    records: Records, job_id: str, index: int, value: Any, ended: AttemptEnded | None, record: AttemptEnded | ItemSettled | None
) -> dict[str, Any]:
    """What item `index` with this value is, with the end `ended` of one of its attempts; `record`: the last word on the item."""
    past = records.history.jobs[job_id]
    result: dict[str, Any] = dict.fromkeys(RESULT_FIELDS)
    # What the item is, whether it has had an attempt or not.
    result["item"] = records.item_name(job_id, index)
    result["job"] = job_id
    result["index"] = index
    result["label"] = label_of(records, job_id, index, record)
    result["value"] = value
    result["status"] = seen_status(records, past.status(index), is_asking=bool(past.gates) and past.is_asking(index))
    result["attempts"] = past.attempts(index)
    result["round"] = past.rounds_done(index) or None
    _put_identity(result, records, job_id, index, record, ended)
    if ended is None:
        return result
    # What its attempt came to.
    outcome = ended.outcome
    is_ok = outcome.attempt_class is AttemptClass.OK
    result["class"] = outcome.attempt_class.value
    result["exit_code"] = outcome.exit_code
    result["signal"] = outcome.signal
    result["started_at"] = outcome.started_at
    result["finished_at"] = outcome.finished_at
    result["duration_s"] = round(outcome.duration_seconds, 6)
    result["stdout"] = outcome.stdout.path
    result["stderr"] = outcome.stderr.path
    result["error"] = None if is_ok else outcome_in_words(outcome) or None
    result["notes"] = [*notes_of(outcome), *_notes_of_place(outcome)] or ([] if outcome.agent is not None else None)
    # What few items have: a result of a command among a million others costs nothing for it.
    if outcome.agent is not None:
        result.update(_agent_part(outcome.agent))
    if ended.spent is not None:
        result.update(_spent_part(ended, None))
    if outcome.workspace is not None:
        result.update(_workspace_part(outcome.workspace))
    result["workspace"] = records.workspace(job_id, index)
    return result


def indices_seen_as(records: Records, job_id: str, status: Status | None) -> Iterable[int]:
    """The items of a job that are seen with this status, in order."""
    if status is None:
        return range(records.count(job_id))
    # Without a supervisor an item that was started is seen as interrupted: several recorded states may be seen as one.
    recorded = [each for each in Status if seen_status(records, each) == status.value]
    past, count = records.history.jobs[job_id], records.count(job_id)
    if len(recorded) == 1 and past.count is not None:
        return past.indices(recorded[0])
    return (index for index in range(count) if past.status(index) in recorded)


def _settled_message(past: JobHistory, index: int, record: AttemptEnded | ItemSettled | None) -> str | None:
    """What was said of an item when it was settled without an end of its attempt; None of one that is to run (again)."""
    if not isinstance(record, ItemSettled) or past.status(index) is Status.PENDING:
        return None
    return record.message or None


def _check_output_stands(records: Records, ended: AttemptEnded) -> None:
    """Raise CaptureMismatch if the file of a success's output is missing or has another size. It is not opened."""
    if ended.outcome.attempt_class is AttemptClass.OK:
        check_capture_stands(answer_capture(ended.outcome), records.run_dir)


def _put_identity(
    result: dict[str, Any],
    records: Records,
    job_id: str,
    index: int,
    record: AttemptEnded | ItemSettled | None,
    ended: AttemptEnded | None,
) -> None:
    """Which work the item is, and who did it: of the attempt that runs, else as it was recorded last."""
    start = records.history.open_starts.get((job_id, index)) or records.history.jobs[job_id].unended.get(index)
    settled = record if isinstance(record, ItemSettled) else None
    latest = start or ended
    token = next((each.token for each in (start, settled, ended) if each is not None and each.token is not None), None)
    # An attempt that runs may do other work than the one before: of that one only the token holds for both.
    payloads = (start,) if start is not None else (settled, ended)
    result["token"] = token
    result["deduped_from"] = latest.deduped_from if isinstance(latest, AttemptEnded) else None
    result["promoted"] = None if token is None else latest is not None and latest.promotions > 0
    result["payload_hash"] = next((each.payload for each in payloads if each is not None and each.payload), None)
    result["replaced_by"] = settled.replaced_by if settled is not None else None
    result["child"] = (latest.child or None) if latest is not None else None
    result["because"] = (latest.because or None) if latest is not None else None


def _notes_of_place(outcome: Outcome) -> list[str]:
    """What a person should know of the place in which a success was: what was not kept of it."""
    report = outcome.workspace
    return [report.note] if report is not None and report.note and outcome.attempt_class is AttemptClass.OK else []


def _workspace_part(report: WorkspaceReport) -> dict[str, Any]:
    """What was kept of the workspace of its last attempt."""
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


def _agent_part(report: AgentReport) -> dict[str, Any]:
    """What an agent told of its last attempt."""
    return {
        "agent": report.agent,
        "model": report.model,
        "session_id": report.session_id,
        "denials": report.denials,
    }
