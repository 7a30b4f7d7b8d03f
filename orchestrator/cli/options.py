"""Options that several commands share, and their types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from orchestrator.jobsfile.language.quantities import MOST_SLOTS

F = TypeVar("F", bound=Callable[..., Any])

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def age_seconds(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that takes an age, in seconds: `20h`, `30d`, `90s`; a bare number is seconds."""
    if value is None:
        return None
    unit = _SECONDS.get(value[-1:].lower())
    number = value if unit is None else value[:-1]
    try:
        seconds = float(number) * (unit or 1.0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise click.BadParameter(f"{value!r} is not an age; write 90s, 45m, 20h, 30d")
    return seconds


def run_argument(function: F) -> F:
    """The argument RUN, which may be left out (`meant_run` says what is meant then)."""
    return click.argument("run", required=False, metavar="[RUN]")(function)


def item_argument(function: F) -> F:
    """The argument ITEM behind RUN. What stands alone is the item."""
    return click.argument("item", required=False, metavar="ITEM")(function)


def items_argument(function: F) -> F:
    """Any number of arguments ITEM behind RUN. The first may be an item, too."""
    return click.argument("items", nargs=-1, metavar="[ITEM]...")(function)


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def output_option(function: F) -> F:
    """-o."""
    return click.option(
        "-o", "--output", "path", metavar="FILE", help="Write to FILE (-: stdout). FILE is replaced once all is written."
    )(function)


def inputs_options(function: F) -> F:
    """-i and --inputs."""
    function = click.option("--inputs", "inputs_file", metavar="FILE", help="Values of inputs, as TOML or JSON (*.json).")(
        function
    )
    return click.option("-i", "--input", "inputs", multiple=True, metavar="K=V", help="Give an input a value. Repeatable.")(
        function
    )


def secrets_option(function: F) -> F:
    """-i of a command that goes on with a run."""
    words = "Give a secret input of the run once more. Repeatable."
    return click.option("-i", "--input", "inputs", multiple=True, metavar="K=@FILE", help=words)(function)


def folder_option(function: F) -> F:
    """-C."""
    return click.option(
        "-C", "folder", metavar="DIR", help="The folder that relative paths start from (default: the folder of the jobs file)."
    )(function)


def run_id_option(function: F) -> F:
    """--run-id."""
    return click.option("--run-id", metavar="ID", help="The id of the run (default: made from the time).")(function)


def view_options(function: F) -> F:
    """The options that say how a run is shown while it goes on."""
    for option in (
        click.option("--quiet", is_flag=True, help="Say nothing on success, but for a glob that matches no file."),
        click.option(
            "--progress",
            type=click.Choice(["auto", "always", "never", "lines"]),
            default="auto",
            help="The live view: on a terminal, always, or never (plain lines); lines: with one for each success, too.",
        ),
        click.option("--events", is_flag=True, help="Print one JSON object a line to stdout as things happen."),
        click.option("--json", "as_json", is_flag=True, help="Print the run's summary as JSON at the end."),
        click.option("--detach", is_flag=True, help="Run in the background; print the run's id."),
        click.option("--profile", metavar="FILE", help="Write to FILE where the supervisor's time went (*.json: as JSON)."),
    ):
        function = option(function)
    return function


def fresh_option(function: F) -> F:
    """--fresh."""
    return click.option(
        "--fresh",
        is_flag=True,
        help="Take no outcome of an earlier run, whatever token_ttl says. Work in flight is still joined.",
    )(function)


def selection_options(function: F) -> F:
    """--only and --limit."""
    function = click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        help="Only the first N items of each fan-out (of those that --only names).",
    )(function)
    return click.option(
        "--only",
        multiple=True,
        metavar="GLOB",
        help="Only these jobs or items and what they need: JOB, JOB:INDEX or JOB:LABEL, with * and ?. Repeatable.",
    )(function)


def bounds_options(function: F) -> F:
    """-j and -k."""
    function = click.option(
        "-k", "--keep-going", is_flag=True, help="After a failure, go on with whatever does not need what failed."
    )(function)
    return click.option(
        "-j",
        "-P",
        "--slots",
        type=click.IntRange(0, MOST_SLOTS),
        metavar="N",
        help="How many items run at once. 0: one, inline, without workers.",
    )(function)
