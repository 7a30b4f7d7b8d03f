"""`orchestrate init [EXAMPLE]`: begin with an example that ships with the program."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import click

from orchestrator.cli.options import json_option
from orchestrator.cli.output import OutputError, new_file, write_json, write_line
from orchestrator.errors import UserError

_SCHEMA = "jobs.schema.json"
"""The examples name it in their first line, as a file beside them."""


@click.command("init")
@click.argument("example", required=False)
@json_option
def command(example: str | None, as_json: bool) -> int:
    """Copy an example jobs file into this folder. Without a name, list the examples.

    A file that is here already is never overwritten. Beside the example come the files that it runs, and jobs.schema.json, by
    which editors complete and explain its keys.
    """
    from orchestrator.system.shipped_files import examples_folder

    folder = examples_folder()
    examples = {path.stem: path for path in sorted(folder.glob("*.toml"))}
    if example is None:
        _list(examples, as_json=as_json)
        return 0
    if example not in examples:
        close = get_close_matches(example, examples, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(examples)}"
        raise UserError(f"no example {example!r}", hint)
    # The example itself must be new. The files beside it may be here from another example.
    target = Path(f"{example}.toml")
    if not _copy(examples[example], target):
        raise UserError(f"{target} is here already, and is left as it is", "move it away, or go to another folder")
    for name in [_SCHEMA, *_children(examples[example])]:
        _copy(folder / name, Path(name))
    if as_json:
        write_json({"file": str(target.absolute())})
    else:
        write_line(f"{target}: see what it would do with `orchestrate plan {target}`, start it with `orchestrate run {target}`")
    return 0


def _children(example: Path) -> list[str]:
    """The names of the jobs files that an example runs as child runs."""
    from orchestrator.jobsfile.load import load
    from orchestrator.jobsfile.model import WorkflowAction

    actions = (job.action for job in load(example).jobs)
    return [action.path.source for action in actions if isinstance(action, WorkflowAction)]


def _copy(source: Path, target: Path) -> bool:
    """Copy a file if there is none at `target`; whether it was copied. Raises OutputError."""
    try:
        with new_file(target) as file:
            file.write(source.read_bytes())
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
    return True


def _list(examples: dict[str, Path], *, as_json: bool) -> None:
    if as_json:
        write_json([{"name": name, "about": _about(path)} for name, path in examples.items()])
        return
    width = max(map(len, examples), default=0)
    for name, path in examples.items():
        write_line(f"{name:<{width}}  {_about(path)}".rstrip())


def _about(path: Path) -> str:
    """What an example is for: its first comment. (A line that begins with `#:` is for editors.)"""
    lines = path.read_text("utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), "")
