"""`orchestrate import FILE`: a jobs file made of somebody else's workflow file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from orchestrator.cli.output import OutputError, new_file, write_bytes
from orchestrator.errors import ExitCode, UserError


@click.command("import")
@click.argument("file")
@click.option("-o", "--output", metavar="FILE", help="Write the jobs file here (never over a file that is there), not to stdout.")
def command(file: str, output: str | None) -> int:
    """Make a jobs file of a Spec Kit workflow (YAML). What differs is told on stderr.

    Exit 1 if something could not be carried over.
    """
    from orchestrator.cli.importing.translation import translate
    from orchestrator.system.wording import how_many, shown
    from orchestrator.views.outlet import Outlet

    # The whole text first: a file that cannot be read leaves nothing behind.
    made = translate(file)
    content = made.text.encode("utf-8")
    if output is None:
        write_bytes(content)
    else:
        _write_new(Path(output), content)
    # A line for each difference, with its place in the workflow, also where the jobs file goes to stdout.
    stderr = Outlet(sys.stderr)
    for note in made.notes:
        stderr.line(shown(note.told(file)))
    if output is not None:
        lost = made.lost_count
        summary = how_many(made.job_count, "job")
        summary += f", {how_many(lost, 'thing')} not carried" if lost else ""
        stderr.line(shown(f"{output}: {summary}; `orchestrate check {output}` reads it"))
    return int(ExitCode.FAILED if made.lost_count else ExitCode.COMPLETED)


def _write_new(target: Path, content: bytes) -> None:
    try:
        with new_file(target) as file:
            file.write(content)
    except FileExistsError:
        raise UserError(f"{target} is here already, and is left as it is", "move it away, or give another -o") from None
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror}") from error
