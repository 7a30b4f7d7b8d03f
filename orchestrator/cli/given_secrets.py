"""`-i KEY=@FILE` of commands that go on with a run: its secret inputs, which it has kept nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.store.run_dir import RunDir


def take_secrets(run_dir: RunDir, pairs: tuple[str, ...]) -> None:
    """Have this process know these secret inputs of the run. All other inputs are as they were.

    Raises UsageError for an input that is not secret, JobsFileError for a value that cannot be one.
    """
    if not pairs:
        return
    from orchestrator.jobsfile.input_values import resolve_inputs
    from orchestrator.reading.run_reader import RunReader

    inputs = RunReader.read(run_dir).jobs_file.inputs
    given = {pair.partition("=")[0] for pair in pairs}
    secret = {name: spec for name, spec in inputs.items() if spec.is_secret and name in given}
    if given - secret.keys():
        raise click.UsageError("-i is about secret inputs; other values are given with resume --update")
    resolve_inputs(secret, pairs)
