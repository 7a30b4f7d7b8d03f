"""`orchestrate results [RUN]`: one result an item, as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, output_option, run_argument
from orchestrator.cli.output import is_terminal, write_to
from orchestrator.errors import UserError
from orchestrator.store.records import Status
from orchestrator.system.wording import iso_time
from orchestrator.views.json_lines import TIMES_S

if TYPE_CHECKING:
    from orchestrator.reading.failure_tails import FailureTails
    from orchestrator.reading.many_results import PlainResult
    from orchestrator.reading.ordered_results import Order
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.system.redaction import Redactor

_TABLE_FIELDS = ["item", "label", "status", "attempts", "duration_s", "exit_code", "reason"]


_SORTS = {
    "duration": "duration_s",
    "started": "started_at",
    "finished": "finished_at",
    "cost": "cost_usd",
    "attempts": "attempts",
    "label": "label",
}
"""Word of --sort -> field."""

_MANY = 50_000
"""Of so many results a second process makes half: of fewer it is not worth its start."""


@click.command("results")
@run_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv", "parquet", "arrow"]),
    default="table",
    help="Default: table.",
)
@click.option("--fields", metavar="A,B", help="Only these fields, in this order.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only the items in this state.")
@click.option("--rounds", is_flag=True, help="One result a round of a loop (JOB:INDEX#ROUND) instead of one an item.")
@click.option("--raw", is_flag=True, help="The values as they are: no secret hidden.")
@click.option("--sort", type=click.Choice([*_SORTS]), help="In the order of this, the least first. Default: in item order.")
@click.option("--reverse", is_flag=True, help="With --sort: the greatest first.")
@click.option("--slowest", type=click.IntRange(min=1), metavar="N", help="The N items that took longest, the longest first.")
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
    sort: str | None,
    reverse: bool,
    slowest: int | None,
    path: str | None,
    as_json: bool,
) -> int:
    """Print the results of a run (default: the newest), one an item, in item order.

    Times are ISO 8601 in JSON and CSV; started_at_s and finished_at_s are the same in seconds since the epoch. Secrets are shown
    as [redacted:NAME], as in the logs.
    """
    from orchestrator.cli.arrow_forms import FORMS as FORMS_IN_COLUMNS
    from orchestrator.cli.arrow_forms import in_columns
    from orchestrator.cli.shown_run import open_run_to_show
    from orchestrator.reading.item_result import items_seen_as, shown_rounds
    from orchestrator.reading.many_results import results_to_encode
    from orchestrator.reading.shown_redactor import redactor_of
    from orchestrator.system.made_by_two import made_by_two, may_be_two

    if as_json:
        form = "json"
    order = _order(sort, slowest, is_reversed=reverse)
    if rounds and order is not None:
        raise UserError("--rounds stands in item order", "leave out --sort and --slowest")
    reader = open_run_to_show(invocation, run)
    chosen = _chosen(fields, form)
    # An output may be large, so it is read only if it is shown, and then in pieces.
    with_output: Literal["in pieces", False] = "in pieces" if "output" in chosen else False
    parts: list[Iterator[Any]] = []
    if rounds:
        of_items = (shown_rounds(reader, *item, with_output=with_output) for item in items_seen_as(reader))
        results: Iterable[Any] = itertools.chain.from_iterable(of_items)
    elif form in ("json", "jsonl") and chosen == _shown_fields() and status is None and order is None:
        parts = results_to_encode(reader, with_output=with_output)
        results = itertools.chain.from_iterable(parts)
    else:
        results = _in_order(reader, order, None if status is None else Status(status), with_output=with_output)
    # Chosen by the status that is shown: a gate that asks is shown as waiting, whatever is recorded.
    if status is not None:
        results = (each for each in results if each["status"] == status)
    written = _Written(reader, form, chosen, None if raw else redactor_of(reader))
    # Of a file that is no text no secret can be taken out afterwards.
    if form in FORMS_IN_COLUMNS:
        if path is None and is_terminal():
            raise UserError(f"--format {form} goes into a file or a pipe", f"as in: orchestrate results --format {form} -o FILE")
        write_to(path, in_columns(form, written.rows(results), chosen, written.redactor))
    elif form == "jsonl" and _has_many(reader) and parts and may_be_two():
        with closing(made_by_two(lambda part: written.chunks(parts[part]), len(parts))) as chunks:
            write_to(path, chunks)
    else:
        write_to(path, written.chunks(results))
    return 0


class _Written:
    """How results are written: in which form, with which fields, without which secrets (None: as they are)."""

    def __init__(self, reader: RunReader, form: str, chosen: list[str], redactor: Redactor | None) -> None:
        from orchestrator.reading.failure_tails import FailureTails

        self._reader, self._form, self._chosen, self.redactor = reader, form, chosen, redactor
        self._tails = FailureTails(reader.run_dir, reader.jobs_file) if "reason" in chosen else None

    def rows(self, results: Iterable[Any]) -> Iterable[Any]:
        """Each result as a row, with the chosen fields."""
        if self._tails is not None:
            results = map(partial(_with_reason, self._reader, self._tails), results)
        results = map(_for_table if self._form == "table" else _with_times, results)
        chosen = self._chosen
        return results if chosen == _shown_fields() else ({field: result[field] for field in chosen} for result in results)

    def chunks(self, results: Iterable[Any]) -> Iterable[bytes]:
        """The results in a form that is text."""
        from orchestrator.cli.result_forms import FORMS
        from orchestrator.cli.results_redacted import WatchedRows, without_secrets, without_secrets_in_blocks

        rows, redactor = self.rows(results), self.redactor
        if redactor is None:
            return FORMS[self._form](rows, self._chosen)
        # A cell of a table is cut: half of a secret would not be found any more.
        if self._form == "table":
            rows = (without_secrets(row, redactor) for row in rows)
        watched = WatchedRows(rows, self._chosen)
        return without_secrets_in_blocks(FORMS[self._form](watched, self._chosen), watched, redactor)


def _has_many(reader: RunReader) -> bool:
    return sum(map(reader.count, reader.history.header.jobs)) >= _MANY


def _in_order(
    reader: RunReader, order: Order | None, status: Status | None, *, with_output: Literal["in pieces", False]
) -> Iterable[dict[str, Any]]:
    from orchestrator.reading.many_results import shown_results
    from orchestrator.reading.ordered_results import ordered_results

    if order is None:
        return shown_results(reader, status=status, with_output=with_output)
    return ordered_results(reader, order, status, with_output=with_output)


def _with_reason(reader: RunReader, tails: FailureTails, result: dict[str, Any] | PlainResult) -> dict[str, Any] | PlainResult:
    """The result with its `reason`."""
    if not isinstance(result, dict):
        if result.error is None and result.status != "failed":
            return result
        from orchestrator.reading.many_results import as_dict

        result = as_dict(result)
    from orchestrator.reading.item_result import reason_of

    result["reason"] = reason_of(reader, tails, result)
    return result


def _for_table(result: dict[str, Any]) -> dict[str, Any]:
    """The result with the notes and the number of denials in place of a reason: a table has no room for more."""
    denied = [f"{len(result['denials'])} denied"] if result["denials"] else []
    notes = [*(result["notes"] or []), *denied]
    result = {**result, "started_at_s": result["started_at"], "finished_at_s": result["finished_at"]}
    return result if result["error"] or not notes else {**result, "reason": "; ".join(notes), "error": "; ".join(notes)}


def _with_times(result: dict[str, Any] | PlainResult) -> dict[str, Any] | PlainResult:
    """The result with its times as ISO 8601, and as numbers behind all else: as `with_times`, in the result itself."""
    if not isinstance(result, dict):
        result.started_at, result.finished_at = iso_time(result.started_at_s), iso_time(result.finished_at_s)
        return result
    started, finished = result["started_at"], result["finished_at"]
    result["started_at"], result["finished_at"] = iso_time(started), iso_time(finished)
    result["started_at_s"], result["finished_at_s"] = started, finished
    return result


def _order(sort: str | None, slowest: int | None, *, is_reversed: bool) -> Order | None:
    from orchestrator.reading.ordered_results import Order

    if slowest is not None:
        if sort is not None or is_reversed:
            raise UserError("--slowest says the order itself", "leave out --sort and --reverse")
        return Order(_SORTS["duration"], is_reversed=True, most=slowest)
    if sort is None and is_reversed:
        raise UserError("--reverse of what?", "say it: --sort duration --reverse")
    return None if sort is None else Order(_SORTS[sort], is_reversed=is_reversed)


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

    return [*RESULT_FIELDS, "reason", *TIMES_S]
