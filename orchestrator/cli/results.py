"""`orchestrate results [RUN]`: one result an item, as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, output_option, run_argument
from orchestrator.cli.output import write_to
from orchestrator.errors import UserError
from orchestrator.store.records import Status

if TYPE_CHECKING:
    from orchestrator.reading.failure_tails import FailureTails
    from orchestrator.reading.run_reader import RunReader

_TABLE_FIELDS = ["item", "label", "status", "attempts", "duration_s", "exit_code", "reason"]


@click.command("results")
@run_argument
@click.option("--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", help="Default: table.")
@click.option("--fields", metavar="A,B", help="Only these fields, in this order.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only the items in this state.")
@click.option("--rounds", is_flag=True, help="One result a round of a loop (JOB:INDEX#ROUND) instead of one an item.")
@click.option("--raw", is_flag=True, help="The values as they are: no secret hidden.")
@output_option
@json_option
@pass_invocation
def command(
    invocation: Invocation,
    *,
    run: str | None,
    form: str,
    fields: str | None,
    status: str | None,
    rounds: bool,
    raw: bool,
    path: str | None,
    as_json: bool,
) -> int:
    """Print the results of a run (default: the newest), one an item, in item order.

    Secrets are shown as [redacted:NAME], as in the logs.
    """
    from orchestrator.cli.result_forms import FORMS
    from orchestrator.cli.results_redacted import WatchedRows, without_secrets, without_secrets_in_blocks
    from orchestrator.cli.shown_run import open_run_to_show
    from orchestrator.reading.failure_tails import FailureTails
    from orchestrator.reading.item_result import items_seen_as, shown_rounds
    from orchestrator.reading.many_results import shown_results
    from orchestrator.reading.shown_redactor import redactor_of

    if as_json:
        form = "json"
    reader = open_run_to_show(invocation, run)
    chosen = _chosen(fields, form)
    # An output may be large, so it is read only if it is shown, and then in pieces.
    with_output: Literal["in pieces", False] = "in pieces" if "output" in chosen else False
    if rounds:
        of_items = (shown_rounds(reader, *item, with_output=with_output) for item in items_seen_as(reader))
        results: Iterable[dict[str, Any]] = itertools.chain.from_iterable(of_items)
    else:
        results = shown_results(reader, status=None if status is None else Status(status), with_output=with_output)
    # Chosen by the status that is shown: a gate that asks is shown as waiting, whatever is recorded.
    if status is not None:
        results = (each for each in results if each["status"] == status)
    if "reason" in chosen:
        results = map(partial(_with_reason, reader, FailureTails(reader.run_dir, reader.jobs_file)), results)
    if form == "table":
        results = map(_with_notes, results)
    rows = results if chosen == _shown_fields() else ({field: result[field] for field in chosen} for result in results)
    if raw:
        write_to(path, FORMS[form](rows, chosen))
        return 0
    redactor = redactor_of(reader)
    # A cell of a table is cut: half of a secret would not be found any more.
    if form == "table":
        rows = (without_secrets(row, redactor) for row in rows)
    watched = WatchedRows(rows, chosen)
    write_to(path, without_secrets_in_blocks(FORMS[form](watched, chosen), watched, redactor))
    return 0


def _with_reason(reader: RunReader, tails: FailureTails, result: dict[str, Any]) -> dict[str, Any]:
    """The result with `reason`: in one line why it is no success; of a failure the last line that it wrote behind its error."""
    from orchestrator.views.failures import short_reason

    reason = result["error"]
    if result["status"] == "failed":
        ended = reader.history.jobs[result["job"]].last_end(result["index"])
        # A round of a loop is not the last end of its item, nor is an end that was settled since.
        is_last = ended is not None and ended.attempt == result["attempts"] and ended.outcome.message in (reason or "")
        reason = short_reason(reason or "", tails.of(ended) if ended is not None and is_last else [])
    result["reason"] = None if reason is None else reason.replace("\n", " ")
    return result


def _with_notes(result: dict[str, Any]) -> dict[str, Any]:
    """The result with the notes and the number of denials in place of a reason: a table has no room for more."""
    denied = [f"{len(result['denials'])} denied"] if result["denials"] else []
    notes = [*(result["notes"] or []), *denied]
    return result if result["error"] or not notes else {**result, "reason": "; ".join(notes), "error": "; ".join(notes)}


def _chosen(fields: str | None, form: str) -> list[str]:
    has = _shown_fields()
    if fields is None:
        return _TABLE_FIELDS if form == "table" else has
    chosen = [field.strip() for field in fields.split(",") if field.strip()]
    for field in chosen:
        if field not in has:
            raise UserError(f"--fields: results have no {field!r}", f"they have: {' '.join(has)}")
    return chosen


def _shown_fields() -> list[str]:
    from orchestrator.reading.item_result import RESULT_FIELDS

    return [*RESULT_FIELDS, "reason"]
