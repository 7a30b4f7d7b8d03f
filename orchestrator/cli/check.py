"""`orchestrate check FILE`: every mistake of a jobs file, or how its jobs hang together."""

from __future__ import annotations

import click
from msgspec.structs import asdict

from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import json_option
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.errors import ExitCode, JobsFileError
from orchestrator.system.wording import how_many, shell_word

_MOST_LINES = 50
"""Lines of the tree that are shown: a long one would scroll away what stands above it."""


@click.command("check")
@click.argument("file")
@json_option
def command(file: str, as_json: bool) -> int:
    """Tell every mistake of a jobs file, each with its place; without mistakes, show how its jobs hang together. Run nothing.

    In the tree a job stands below the job that it waits for. Double lines are chains: item waits for item. Exit 2 if there are
    mistakes. A note tells where a program would read the value of a placeholder as commands.
    """
    from orchestrator.jobsfile.diagram import draw_tree, nodes_of
    from orchestrator.jobsfile.load import load, user_config
    from orchestrator.jobsfile.warnings import warnings_about

    try:
        jobs_file = load(file, user_config=user_config())
    except JobsFileError as error:
        # For people the mistakes are told as those of any command; a program gets the same object as without mistakes.
        if not as_json:
            raise
        write_json({"ok": False, "jobs": [], "graph": [], "problems": error.problems, "warnings": []})
        return int(ExitCode.USAGE)
    jobs = [job.id for job in jobs_file.jobs]
    nodes = nodes_of(jobs_file.jobs)
    warnings = warnings_about(jobs_file, file)
    if as_json:
        graph = [asdict(node) for node in nodes]
        write_json({"ok": True, "jobs": jobs, "graph": graph, "problems": [], "warnings": warnings})
        return 0
    for words in warnings:
        tell_note(words)
    # The verdict first, then as much of the tree as fits a screen.
    write_line(f"ok: {how_many(len(jobs), 'job')}")
    lines = draw_tree(nodes)
    write_lines(f"  {line}" for line in lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        write_line(f"  … {len(lines) - _MOST_LINES} more lines: orchestrate plan --graph tree {shell_word(file)}")
    return 0
