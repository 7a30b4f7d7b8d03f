"""`orchestrate each -- CMD {}`: a run with one item for each line of stdin."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.each_file import agent_jobs_text, jobs_text, standing_alone
from orchestrator.cli.each_lines import stdin_lines
from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import bounds_options, run_id_option, view_options
from orchestrator.cli.output import write_bytes
from orchestrator.cli.supervising import Shown, supervise
from orchestrator.workers.byte_text import bytes_of_text

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs.commands import RunReport
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt


@click.command("each", context_settings={"allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD [ARG | {}]...]")
@click.option("--agent", metavar="NAME", help="An agent instead of a command; orchestrate agents lists them.")
@click.option("-p", "--prompt", metavar="TEXT", help="What the agent is told of each line.")
@click.option("--model", metavar="M", help="The model that the agent uses.")
@click.option("--permissions", type=click.Choice(["read", "edit", "full"]), help="What the agent may do (default: read).")
@click.option(
    "--workspace", type=click.Choice(["shared", "worktree", "copy", "temp"]), help="Where the agent works (default: here)."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N lines.")
@bounds_options
@run_id_option
@click.option(
    "--print", "only_print", is_flag=True, help="Print the jobs file that this would run, with its items, and run nothing."
)
@view_options
@pass_invocation
def command(
    invocation: Invocation,
    /,
    *,
    words: tuple[str, ...],
    agent: str | None,
    prompt: str | None,
    model: str | None,
    permissions: str | None,
    workspace: str | None,
    slots: int | None,
    keep_going: bool,
    limit: int | None,
    run_id: str | None,
    only_print: bool,
    **view: Any,
) -> int:
    """Run a command, or an agent, once for each line of stdin: a normal run, recorded and resumable.

    {} (or {{ item }}) stands for the line, anywhere in an argument. Without a {} the line is added as the last argument. A line
    is one argument, byte for byte: blanks and quotes mean nothing, and no shell reads it. At the end the stdout of all items is
    printed, in the order of the lines.

    With --agent NAME -p TEXT an agent is told TEXT for each line, and its answers are printed.
    """
    # Either a command or an agent: half of each would run something that was not meant.
    of_an_agent = {"--prompt": prompt, "--model": model, "--permissions": permissions, "--workspace": workspace}
    given = [option for option, value in of_an_agent.items() if value is not None]
    if agent is None and given:
        raise click.UsageError(f"{given[0]} is about an agent: give --agent NAME too")
    if agent is not None and (prompt is None or words):
        raise click.UsageError("--agent goes with -p TEXT" + (", and with no command" if words else ""))
    if agent is None and not words:
        raise click.UsageError("Missing argument '-- CMD [ARG | {}]...'.")
    # The command line becomes a jobs file: from here on it is a run like any other.
    if agent is None or prompt is None:
        text = jobs_text(words)
    else:
        text = agent_jobs_text(agent, prompt, model=model, permissions=permissions, workspace=workspace, slots=slots)
    if only_print:
        # What is typed at a terminal is not asked for: the file then reads a list that the user makes.
        if sys.stdin is None or not sys.stdin.isatty():
            text = standing_alone(text, itertools.islice(stdin_lines(), limit), slots=slots, keep_going=keep_going)
        write_bytes(text.encode())
        return 0
    shown = Shown(**view)

    def start(home: Path, listeners: Listeners, _prompt: Prompt | None) -> RunReport:
        from orchestrator.runs.commands import EachRequest, run_each
        from orchestrator.store.settings_records import RunOptions, Selection

        options = RunOptions(slots=slots, keep_going=keep_going, selection=Selection(limit=limit))
        request = EachRequest(jobs_text=text, lines=stdin_lines(), folder=os.getcwd(), options=options, run_id=run_id)
        report = run_each(home, request, listeners)
        # Where stdout is for JSON, or nobody reads it, `logs` has the outputs.
        if not (shown.as_json or shown.events or shown.detach):
            _print_outputs(home, report.run_id)
        return report

    return supervise(invocation, shown, start, reads_stdin=True)


def _print_outputs(home: Path, run_id: str) -> None:
    from orchestrator.cli.sinks import Sinks, copy_stream
    from orchestrator.cli.streams import open_stream
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.store.known_runs import find_run

    reader = RunReader.read(find_run(home, run_id))
    if reader.job("each").is_agent:
        for index in range(reader.count("each")):
            answer = reader.output("each", index)
            if answer is not None:
                write_bytes(bytes_of_text(f"{answer}\n"))
        return
    # As bytes: what a program prints is data.
    sinks = Sinks(reader, is_raw=True)
    for index in range(reader.count("each")):
        # An item that was never started has no output.
        attempt = reader.history.jobs["each"].attempts(index)
        stream = open_stream(reader, "each", index, attempt, "stdout") if attempt else None
        if stream is not None:
            with stream:
                copy_stream(stream, sinks.sink("each", index, attempt, "stdout", None))
