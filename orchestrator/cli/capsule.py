"""`orchestrate capsule RUN`: archive what a run's agents did, to be played by `run --replay`."""

from __future__ import annotations

import os

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import json_option, run_argument
from orchestrator.cli.output import flush, is_terminal, replaced, stdout_bytes, write_json, write_line
from orchestrator.errors import UserError
from orchestrator.system.wording import how_many
from orchestrator.workers.wording import first_in_words


@click.command("capsule")
@run_argument
@click.option("-o", "--output", "path", metavar="FILE", help="The archive (default: RUN.capsule.tar.gz; -: stdout).")
@json_option
@pass_invocation
def command(invocation: Invocation, *, run: str | None, path: str | None, as_json: bool) -> int:
    """Write an archive of what the agents of a run were told, wrote and changed, without secrets.

    `orchestrate run FILE --replay ARCHIVE` plays the archive: the jobs file runs and no agent does, so it costs no money and
    needs no network. In the archive, values of environment variables with a name such as API_KEY or TOKEN, and whatever looks
    like a key, are [redacted:NAME].
    """
    from orchestrator.attempts.replay.capsules import CapsuleMaker, described
    from orchestrator.cli.shown_run import open_run

    stdout = stdout_bytes() if path == "-" else None
    if path == "-" and (stdout is None or is_terminal()):
        raise UserError("-o -: an archive goes into a pipe or a file", "as in: orchestrate capsule RUN -o - > FILE")
    reader = open_run(invocation, run)
    maker = CapsuleMaker(reader)
    # To stdout goes the archive alone: a summary would stand in the middle of it.
    if stdout is not None:
        capsule = maker.write(stdout)
        flush()
    else:
        path = path or f"{reader.run_dir.run_id}.capsule.tar.gz"
        with replaced(path, 0o600) as file:
            capsule = maker.write(file)
        if as_json:
            write_json({"file": os.path.abspath(path), **described(capsule)})
        else:
            count = len(capsule.attempts)
            write_line(f"{path}: {how_many(count, 'attempt')} of agents; play it: orchestrate run FILE --replay {path}")
    # What is not in it: an attempt that has not ended, or of which nothing was kept, cannot be played.
    if capsule.missing:
        some = first_in_words(capsule.missing, "; ")
        tell_note(f"not in it, for they have not ended or nothing was kept of them: {some}")
    # An agent without a workspace of its own changed files that other agents and people change, too.
    if maker.unseen_jobs:
        jobs = ", ".join(maker.unseen_jobs)
        tell_note(f"what agents changed in the folder itself is not in it: {jobs} (see `workspace`)")
    return 0
