"""`orchestrate check FILE`."""

from __future__ import annotations

import shlex

import click
from msgspec.structs import asdict

from orchestrator.cli.options import json_option
from orchestrator.cli.output import write_json, write_line, write_lines
from orchestrator.errors import ExitCode, JobsFileError

_MOST_LINES = 50
"""Of the tree: who checks a file does not want to see its mistakes scroll by."""


@click.command("check")
@click.argument("file")
@json_option
def command(file: str, as_json: bool) -> int:
    """Tell every mistake of a jobs file, each with its place, or else how its jobs hang together; run nothing.

    Exit 2 if there are mistakes. In the tree a job stands under the one that it waits for; double lines are chains, item by item.
    """
    from orchestrator.jobsfile.diagram import draw_tree, nodes_of
    from orchestrator.jobsfile.load import load, user_config

    try:
        jobs_file = load(file, user_config=user_config())
    except JobsFileError as error:
        if not as_json:
            raise
        write_json({"ok": False, "jobs": [], "graph": [], "problems": error.problems})
        return int(ExitCode.USAGE)
    jobs = [job.id for job in jobs_file.jobs]
    nodes = nodes_of(jobs_file.jobs)
    if as_json:
        write_json({"ok": True, "jobs": jobs, "graph": [asdict(node) for node in nodes], "problems": []})
        return 0
    write_line(f"ok: {len(jobs)} job{'s' if len(jobs) != 1 else ''}")
    lines = draw_tree(nodes)
    write_lines(f"  {line}" for line in lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        write_line(f"  … {len(lines) - _MOST_LINES} more lines: orchestrate plan --graph tree {shlex.quote(file)}")
    return 0
