"""`orchestrate results [RUN]`: one result an item, as a table, JSON, JSON lines or CSV."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, output_option, run_argument
from orchestrator.cli.output import write_to
from orchestrator.errors import UserError
from orchestrator.store.records import Status

_TABLE_FIELDS = ["item", "label", "status", "attempts", "duration_s", "exit_code", "error"]


@click.command("results")
@run_argument
@click.option("--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]), default="table", help="Default: table.")
@click.option("--fields", metavar="A,B", help="Only these fields, in this order.")
@click.option("--status", type=click.Choice([status.value for status in Status]), help="Only the items in this state.")
@click.option("--rounds", is_flag=True, help="One result a round of a loop (JOB:INDEX#ROUND) instead of one an item.")
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
    path: str | None,
    as_json: bool,
) -> int:
    """Print the results of a run (default: the newest), one an item, in item order."""
    from orchestrator.cli.shown_run import open_run_to_show
    from orchestrator.reading.item_result import items_seen_as, shown_result, shown_rounds

    if as_json:
        form = "json"
    reader = open_run_to_show(invocation, run)
    chosen = _chosen(fields, form)
    # An output may be large, so it is read only if it is shown.
    with_output = "output" in chosen
    if rounds:
        of_items = (shown_rounds(reader, *item, with_output=with_output) for item in items_seen_as(reader))
        results: Iterable[dict[str, Any]] = itertools.chain.from_iterable(of_items)
    else:
        items = items_seen_as(reader, status=None if status is None else Status(status))
        results = (shown_result(reader, *item, with_output=with_output) for item in items)
    # Chosen by the status that is shown: a gate that asks is shown as waiting, whatever is recorded.
    results = (each for each in results if status is None or each["status"] == status)
    if form == "table":
        results = map(_with_notes, results)
    rows = ({field: result[field] for field in chosen} for result in results)
    chunks = _FORMS[form](rows, chosen)
    write_to(path, chunks)
    return 0


def _with_notes(result: dict[str, Any]) -> dict[str, Any]:
    """The result with the notes and the number of denials in place of an error: a table has no room for more."""
    denied = [f"{len(result['denials'])} denied"] if result["denials"] else []
    notes = [*(result["notes"] or []), *denied]
    return result if result["error"] or not notes else {**result, "error": "; ".join(notes)}


def _chosen(fields: str | None, form: str) -> list[str]:
    from orchestrator.reading.item_result import RESULT_FIELDS

    if fields is None:
        return _TABLE_FIELDS if form == "table" else list(RESULT_FIELDS)
    chosen = [field.strip() for field in fields.split(",") if field.strip()]
    for field in chosen:
        if field not in RESULT_FIELDS:
            raise UserError(f"--fields: results have no {field!r}", f"they have: {' '.join(RESULT_FIELDS)}")
    return chosen


def _as_json(rows: Iterable[dict[str, Any]], _fields: list[str]) -> Iterator[bytes]:
    from orchestrator.views.json_lines import json_list

    return json_list(rows)


def _as_jsonl(rows: Iterable[dict[str, Any]], _fields: list[str]) -> Iterator[bytes]:
    from orchestrator.views.json_lines import json_line

    return (json_line(row) for row in rows)


def _as_csv(rows: Iterable[dict[str, Any]], fields: list[str]) -> Iterator[bytes]:
    import csv

    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    for cells in itertools.chain([fields], ([_cell(row[field]) for field in fields] for row in rows)):
        writer.writerow(cells)
        yield buffer.getvalue().encode("utf-8", "surrogateescape")
        buffer.seek(0)
        buffer.truncate()


def _as_table(rows: Iterable[dict[str, Any]], fields: list[str]) -> Iterator[bytes]:
    from orchestrator.system.wording import shown
    from orchestrator.views.tables import aligned

    cells = ([shown(_short(field, row[field]), 60) for field in fields] for row in rows)
    return (line.encode("utf-8", "backslashreplace") + b"\n" for line in aligned([field.upper() for field in fields], cells))


def _short(field: str, value: Any) -> str:
    from orchestrator.system.wording import at_time, lasting

    if value is None:
        return ""
    if field == "duration_s":
        return lasting(value)
    return at_time(value) if field.endswith("_at") else _cell(value)


def _cell(value: Any) -> str:
    """Text as it is, nothing for null, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    from orchestrator.views.json_lines import json_line

    return json_line(value).decode().rstrip("\n")


_FORMS = {"json": _as_json, "jsonl": _as_jsonl, "csv": _as_csv, "table": _as_table}
