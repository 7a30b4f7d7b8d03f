"""`orchestrate capsule RUN`."""

from __future__ import annotations

import os
import sys

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import json_option, run_argument
from orchestrator.cli.output import replaced, write_json, write_line
from orchestrator.views.outlet import Outlet


@click.command("capsule")
@run_argument
@click.option("-o", "--output", "path", metavar="FILE", help="The archive (default: RUN.capsule.tar.gz; -: stdout).")
@json_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, path: str | None, as_json: bool) -> int:
    """Write an archive of what the agents of a run were told, wrote and changed, without secrets.

    `orchestrate run FILE --replay ARCHIVE` plays it: the jobs file runs, no agent does, for no money and without a network.
    Values of environment variables with a name such as API_KEY or TOKEN, and whatever looks like a key, are
    [redacted:NAME] in it.
    """
    from orchestrator.attempts.replay.capsules import CapsuleMaker, described
    from orchestrator.cli.shown_run import open_run

    reader = open_run(invocation, run)
    maker = CapsuleMaker(reader)
    if path == "-":
        capsule = maker.write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    else:
        path = path or f"{reader.run_dir.run_id}.capsule.tar.gz"
        with replaced(path, 0o600) as file:
            capsule = maker.write(file)
        if as_json:
            write_json({"file": os.path.abspath(path), **described(capsule)})
        else:
            count = len(capsule.attempts)
            write_line(
                f"{path}: {count} attempt{'s' if count != 1 else ''} of agents; play it: orchestrate run FILE --replay {path}"
            )
    if capsule.missing:
        some = "; ".join(capsule.missing[:5]) + (f" and {len(capsule.missing) - 5} more" if len(capsule.missing) > 5 else "")
        Outlet(sys.stderr).line(f"note: not in it, for they have not ended or nothing was kept of them: {some}")
    if maker.unseen_jobs:
        jobs = ", ".join(maker.unseen_jobs)
        Outlet(sys.stderr).line(f"note: what agents changed in the folder itself is not in it: {jobs} (see `workspace`)")
    return 0
