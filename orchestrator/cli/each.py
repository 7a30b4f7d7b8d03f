"""`orchestrate each -- CMD {}`: a run with one item for each line of stdin, or of what else is named."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestrator.cli.each_elsewhere import EachCommand
from orchestrator.cli.each_file import run_text, standing_alone
from orchestrator.cli.each_job import EachJob, Typed, folder_named, halt_of, job_of
from orchestrator.cli.each_outputs import Outputs, Printing
from orchestrator.cli.each_words import literal
from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import bounds_options, run_id_option, view_options
from orchestrator.cli.output import is_terminal, write_bytes, write_lines
from orchestrator.cli.supervising import Shown, supervise
from orchestrator.errors import JobsFileError
from orchestrator.store.settings_records import RunOptions, Selection
from orchestrator.workers.lazy_pattern import lazy_pattern

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs.commands import RunReport
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


@click.command("each", cls=EachCommand, context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD [ARG | {}]...] [::: ITEM...]...")
@click.option("--shell", "is_shell", is_flag=True, help="CMD is a command line of a shell; {} is quoted for it.")
@click.option("--shell-program", metavar="WORDS", help="The shell of --shell: 'bash -euo pipefail -c' (default: /bin/sh -ec).")
@click.option("-a", "--arg-file", "files", multiple=True, metavar="FILE", help="Items from FILE (-: stdin). Repeatable.")
@click.option("-0", "--null", "is_nul", is_flag=True, help="Items end with NUL, as of find -print0.")
@click.option("-d", "--delimiter", metavar="TEXT", help="Items end with TEXT.")
@click.option(
    "-n",
    "-L",
    "--max-args",
    "batch",
    type=click.IntRange(min=0),
    metavar="N",
    help="So many lines make one item; 0: CMD does not get the item.",
)
@click.option("--colsep", "column_separator", metavar="C", help="What parts a line into {1} {2}: a character, or a regex.")
@click.option("--header", metavar=":", help="The first line names the values of the others: {NAME}.")
@click.option("-I", "mark", metavar="MARK", help="What stands for the item instead of {}; braces then mean nothing.")
@click.option("--agent", metavar="NAME", help="An agent instead of a command; orchestrate agents lists them.")
@click.option("-p", "--prompt", metavar="TEXT", help="What the agent is told of each line.")
@click.option("--model", metavar="M", help="The model that the agent uses.")
@click.option("--permissions", type=click.Choice(["read", "edit", "full"]), help="What the agent may do (default: read).")
@click.option(
    "--workspace", type=click.Choice(["shared", "worktree", "copy", "temp"]), help="Where the agent works (default: here)."
)
@click.option("--timeout", metavar="TIME", help="How long one attempt may take: 90s, 5m.")
@click.option("--attempts", type=click.IntRange(min=1), metavar="N", help="How often an item is tried in all.")
@click.option("--retry-delay", metavar="TIME", help="How long to wait before the second attempt.")
@click.option("--max-failures", metavar="N", help="How many items (3, 10%) may fail: then the run goes on, and is a success.")
@click.option("--check", metavar="CMD", help="A command line that confirms a success.")
@click.option("--token", metavar="TEXT", help="What names the work of an item: the same work is done once.")
@click.option("--pool", metavar="NAME", help="The pool whose slots and rate hold for these items too.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N items.")
@bounds_options
@click.option("--keep-order/--as-done", "in_order", default=None, help="Outputs in the order of items (default), or as they end.")
@click.option("--label", metavar="TEXT", help="What an item is called (default: the item).")
@click.option("--tag", "is_tagged", is_flag=True, help="Begin each line of output with what its item is called, and a tab.")
@click.option("--line-buffer", is_flag=True, help="Outputs line by line while items run, those of several mixed.")
@click.option("--results", "results_folder", metavar="DIR", help="Also write each output to DIR/N/stdout and DIR/N/stderr.")
@click.option("--eta", is_flag=True, help="At a terminal: the live view with the time that is left; outputs behind it.")
@click.option(
    "--halt",
    metavar="WHEN",
    help="never: as -k; soon: start nothing more; now: end what runs. At fail=N (default 1), success=N, done=N; N%.",
)
@click.option("-C", "folder", metavar="DIR", help="The folder that commands run in (default: here).")
@run_id_option
@click.option("--dry-run", is_flag=True, help="Print the command of each item, and run nothing.")
@click.option(
    "--print", "only_print", is_flag=True, help="Print the jobs file that this would run, with its items, and run nothing."
)
@view_options
@pass_invocation
def command(
    invocation: Invocation,
    /,
    *,
    limit: int | None,
    keep_going: bool,
    halt: str | None,
    in_order: bool | None,
    is_tagged: bool,
    line_buffer: bool,
    results_folder: str | None,
    eta: bool,
    folder: str | None,
    run_id: str | None,
    dry_run: bool,
    only_print: bool,
    **given: Any,
) -> int:
    """Run a command, or an agent, once for each line of stdin: a normal run, recorded and resumable.

    {} (or {{ item }}) stands for the item, anywhere in an argument. Without a {} the item is added as the last argument. An item
    is one argument, byte for byte: blanks and quotes mean nothing, and no shell reads it. With --agent NAME -p TEXT an agent is
    told TEXT for each item.

    {.} is the item without its suffix, {/} its last part, {//} its folder, {/.} the last part without suffix, {1} {2} {NAME} a
    value of it, {1.} and so on the same of that value, {#} its number (from 1), {%} the slot that it runs in (from 0).

    ::: A B C, behind all else, gives the items themselves; several ::: are combined, :::+ goes in step with the one before it,
    :::: FILE reads a file. Items start while lines of stdin still come. What is printed comes in the order of the items, each
    whole, as soon as those before it are done.
    """
    view = {name: given.pop(name) for name in Shown.__struct_fields__ if name in given}
    # What is asked of all items, or goes on without this process, has all of them first.
    begins_early = not (only_print or dry_run or view["detach"] or limit is not None)
    halting, keep_going = halt_of(halt, given["max_failures"], keep_going=keep_going)
    job = job_of(Typed(halt=halting, **given), begins_early=begins_early)
    options = RunOptions(
        slots=given["slots"],
        keep_going=keep_going,
        selection=Selection(limit=limit),
    )
    works_in = folder_named(folder)
    is_agent = "agent" in job.keys
    if line_buffer and is_agent:
        raise click.UsageError("--line-buffer is about commands: an agent has answered when it has ended")
    for note in job.notes:
        tell_note(note)
    if only_print:
        _print_file(job, None if folder is None else works_in, options)
        return 0
    shown = Shown(**view)
    prints = not (shown.as_json or shown.events or shown.detach)
    says_how = in_order is not None or is_tagged or line_buffer
    # Options that would silently mean nothing are refused.
    if not prints and (says_how or results_folder is not None):
        raise click.UsageError("with --json, --events or --detach no outputs are printed, nor kept by --results: logs has them")
    # Beside a live view outputs would come at the end: who says how they are to come wants to see them before.
    if shown.progress == "auto" and not eta and is_terminal() and says_how:
        shown = msgspec.structs.replace(shown, progress="never")
    outputs = None
    if prints and not dry_run:
        printing = Printing(in_order is not False, is_tagged, by_line=line_buffer, folder=results_folder, is_agent=is_agent)
        outputs = Outputs(invocation.home(is_made=True), printing)

    def start(home: Path, listeners: Listeners, _prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import EachRequest, run_each

        text = run_text(job.name, job.form, job.keys)
        request = EachRequest(
            jobs_text=text, lines=job.values, coming=job.coming, folder=works_in, options=options, run_id=run_id
        )
        report = run_each(home, request, listeners)
        if outputs is not None:
            outputs.follow(report.run_id)
        return report

    try:
        if dry_run:
            from orchestrator.cli.each_dry_run import command_lines

            write_lines(command_lines(job, works_in, limit))
            return 0
        code = supervise(invocation, shown, start, reads_stdin=True, outputs=outputs)
    except JobsFileError as error:
        raise _of_command_line(error) from error
    if outputs is not None:
        outputs.finish()
    return code


def _print_file(job: EachJob, folder: str | None, options: RunOptions) -> None:
    keys = job.keys if folder is None else {**job.keys, "cwd": literal(folder)}
    # What is typed at a terminal is not asked for: the file then reads a list that the user makes.
    if job.reads_stdin and job.form.is_text and sys.stdin is not None and sys.stdin.isatty():
        text = run_text(job.name, job.form, keys)
    else:
        values = itertools.islice(job.values, options.selection.limit)
        text = standing_alone(job.name, keys, values, slots=options.slots, keep_going=options.keep_going)
    write_bytes(text.encode())


_PLACE = lazy_pattern(r"\S*each\.toml(?::\d+)?: (?:jobs\.each\.)?")


def _of_command_line(error: JobsFileError) -> JobsFileError:
    """The mistakes of a file that nobody sees, as those of what was typed."""
    problems = [_PLACE.sub("", problem, count=1) for problem in error.problems]
    return JobsFileError("what was typed for each", problems)
