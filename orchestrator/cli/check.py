"""`orchestrate check FILE`."""

from __future__ import annotations

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.output import write_json, write_line
from orchestrator.errors import ExitCode, JobsFileError


@click.command("check")
@click.argument("file")
@json_option
def command(file: str, as_json: bool) -> int:
    """Tell every mistake of a jobs file, each with its place; run nothing. Exit 2 if there are any."""
    from orchestrator.jobsfile.load import load
    from orchestrator.launching import user_config

    try:
        jobs_file = load(file, user_config=user_config())
    except JobsFileError as error:
        if not as_json:
            raise
        write_json({"ok": False, "jobs": [], "problems": error.problems})
        return int(ExitCode.USAGE)
    jobs = [job.id for job in jobs_file.jobs]
    if as_json:
        write_json({"ok": True, "jobs": jobs, "problems": []})
    else:
        write_line(f"ok: {len(jobs)} job{'s' if len(jobs) != 1 else ''}")
    return 0
