"""`each --dry-run`: the command of each item, as it would be typed."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from typing import Any

from orchestrator.attempts.rendering import Surroundings, render_attempt
from orchestrator.attempts.template_texts import ItemRefused, rendered_text
from orchestrator.cli.each_file import run_text
from orchestrator.cli.each_job import EachJob
from orchestrator.jobsfile.load import load_text, user_config
from orchestrator.jobsfile.model import AgentAction, Job, ShellAction


def command_lines(job: EachJob, folder: str, limit: int | None) -> Iterator[str]:
    """A line for each item, or several of a script that has several. Raises JobsFileError."""
    path = f"{folder}/each.toml"
    text = run_text(job.name, job.form, job.keys)
    (made,) = load_text(text, path=path, folder=folder, user_config=user_config(), is_recorded=False).jobs
    return _lines(made, job, folder, limit)


def _lines(made: Job, job: EachJob, folder: str, limit: int | None) -> Iterator[str]:
    for index, value in enumerate(itertools.islice(job.values, limit)):
        # Which slot an item gets is not known before it starts.
        try:
            yield from command_line(made, {"item": value, "index": index, "slot": 0}, folder).split("\n")
        except ItemRefused as refused:
            yield f"# item {index + 1} cannot run: {refused}"


def command_line(made: Job, context: dict[str, Any], folder: str) -> str:
    if isinstance(made.action, AgentAction) and made.prompt is not None:
        agent = rendered_text(made.action.agent, context, "agent")
        return f"{agent}: {rendered_text(made.prompt, context, 'prompt')}"
    if isinstance(made.action, ShellAction):
        return rendered_text(made.action.script, context, "shell")
    return shlex.join(render_attempt(made, context, Surroundings(folder=folder, temporary_suffix="dry")).argv)
