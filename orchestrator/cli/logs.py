"""`orchestrate logs [RUN] [ITEM]`: what items wrote, byte for byte."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import run_argument
from orchestrator.cli.output import flush, write_bytes, write_line
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.results import RunReader

_BLOCK_BYTES = 1 << 16


@click.command("logs")
@run_argument
@click.argument("item", required=False)
@click.option("-f", "--follow", is_flag=True, help="Follow one item until it ends.")
@click.option("--stderr", is_flag=True, help="What it wrote to stderr, instead of stdout and then stderr.")
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Which attempt (default: the last).")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="LINES", help="Only the last LINES of each stream.")
@pass_invocation
def command(
    invocation: Invocation,
    *,
    run: str | None,
    item: str | None,
    follow: bool,
    stderr: bool,
    attempt: int | None,
    lines: int | None,
) -> int:
    """Print what an item wrote (default: all items of the newest run): its stdout, then its stderr.

    ITEM is JOB:INDEX, JOB, JOB:LABEL or a glob. Several items have a header line each.
    """
    from orchestrator.cli.reading import open_run

    reader = open_run(invocation, run)
    items = reader.find_items(item) if item is not None else _all_items(reader)
    if follow:
        if len(items) != 1:
            raise UserError(f"-f follows one item, and these are {len(items)}", "name one as JOB:INDEX")
        if attempt is not None:
            raise UserError("-f and --attempt cannot both be given", "-f follows the attempt that runs")
        from orchestrator.cli.following import follow_item

        follow_item(reader, *items[0], names=("stderr",) if stderr else ("stdout", "stderr"), lines=lines)
        return 0
    if item is None:
        items = [each for each in items if _attempt_number(reader, *each, attempt) > 0]
    is_first = True
    for job_id, index in items:
        if len(items) > 1:
            from orchestrator.views.wording import title

            write_line(
                ("" if is_first else "\n") + f"==> {title(reader.item_name(job_id, index), reader.label(job_id, index))} <=="
            )
        is_first = False
        _print_item(reader, job_id, index, attempt, lines, only_stderr=stderr)
    return 0


def _all_items(reader: RunReader) -> list[tuple[str, int]]:
    return [(job_id, index) for job_id in reader.history.header.jobs for index in range(reader.count(job_id))]


def _attempt_number(reader: RunReader, job_id: str, index: int, attempt: int | None) -> int:
    last = reader.history.jobs[job_id].attempts(index)
    return last if attempt is None else attempt if attempt <= last else 0


def _print_item(reader: RunReader, job_id: str, index: int, attempt: int | None, lines: int | None, *, only_stderr: bool) -> None:
    number = _attempt_number(reader, job_id, index, attempt)
    if attempt is not None and number == 0:
        had = reader.history.jobs[job_id].attempts(index)
        raise UserError(
            f"{reader.item_name(job_id, index)} has had no attempt {attempt}",
            f"it has had {had} attempt{'s' if had != 1 else ''}",
        )
    for name in ("stderr",) if only_stderr else ("stdout", "stderr"):
        stream = open_stream(reader, job_id, index, number, name)
        if stream is not None:
            with stream:
                copy_stream(stream, lines)


def open_stream(reader: RunReader, job_id: str, index: int, attempt: int, name: str) -> BinaryIO | None:
    """Stream `name` (stdout or stderr) of one attempt: from its file, else from its record, else live; None if it is empty."""
    running = reader.history.open_starts.get((job_id, index))
    if running is not None and running.attempt == attempt:
        live = reader.run_dir.worker_folder(running.worker) / name
        return _opened(live) or _opened(_final_path(reader, job_id, index, attempt, name))
    from_file = _opened(_final_path(reader, job_id, index, attempt, name))
    if from_file is not None:
        return from_file
    ended = reader.history.jobs[job_id].last_end(index)
    if ended is None or ended.attempt != attempt:
        return None
    capture = ended.outcome.stdout if name == "stdout" else ended.outcome.stderr
    # After power loss a small stream may be in the record only.
    return io.BytesIO(capture.inline) if capture.inline else None


def _final_path(reader: RunReader, job_id: str, index: int, attempt: int, name: str) -> Path:
    stdout, stderr = reader.run_dir.output_paths(job_id, index, attempt)
    return Path(stdout if name == "stdout" else stderr)


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def copy_stream(stream: BinaryIO, lines: int | None = None) -> None:
    """Write the stream (or its last `lines`) to stdout, byte for byte, in bounded memory."""
    stream.seek(0 if lines is None else tail_start(stream, lines))
    while block := stream.read(_BLOCK_BYTES):
        write_bytes(block)
    flush()


def tail_start(stream: BinaryIO, lines: int) -> int:
    """The offset at which the last `lines` lines of `stream` begin. A last line without newline counts as one."""
    end = stream.seek(0, io.SEEK_END)
    if lines == 0 or end == 0:
        return end
    position, wanted = end - 1, lines  # the newline that ends the last line separates nothing
    while position > 0:
        start = max(position - _BLOCK_BYTES, 0)
        stream.seek(start)
        block = stream.read(position - start)
        at = block.rfind(b"\n")
        while at >= 0:
            wanted -= 1
            if wanted == 0:
                return start + at + 1
            at = block.rfind(b"\n", 0, at)
        position = start
    return 0
