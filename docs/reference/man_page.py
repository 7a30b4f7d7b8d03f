"""Makes docs/man/orchestrate.1, the man page, of the commands: `make man`. The wheel has it in share/man.

Promise: it is made of the code alone. A test makes it again, and fails where it differs.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator.cli.group import orchestrate

PAGE = Path(__file__).resolve().parents[1] / "man" / "orchestrate.1"

_HEAD = r""".\" Made by docs/reference/man_page.py of the commands: make man.
.TH ORCHESTRATE 1 "" "orchestrate" "User Commands"
.SH NAME
orchestrate \- run slow, paid, flaky commands over many items: bounded, recorded, resumed after kill \-9
.SH SYNOPSIS
.B orchestrate
.RB [ \-\-home
.IR DIR ]
.I COMMAND
.RI [ OPTION ]...
.SH DESCRIPTION
RUN is the id of a run, a beginning or an end of it, a name, or a jobs file (its newest run). Left out it is the newest run; what
changes something takes the only run that can be meant. ITEM is what the output calls it: JOB, JOB:INDEX, JOB:LABEL, a label
alone, or a glob.
.SH COMMANDS
"""
_TAIL = r""".SH EXIT STATUS
.TS
l l.
0	completed
1	finished, and something failed
2	usage, a mistake in the jobs file, bad input
3	paused: a gate, a budget, a usage limit, \fBpause\fR
4	cancelled
5	a gate was rejected
70	a bug of orchestrate
74	the state could not be written
75	held by another process: try later
129, 130, 143	interrupted by SIGHUP, SIGINT, SIGTERM
.TE
.SH ENVIRONMENT
.TP
.B ORCHESTRATE_HOME
The state folder, unless \fB\-\-home\fR names it. Default: $XDG_STATE_HOME/orchestrate.
.SH FILES
.TP
.I ~/.config/orchestrate/config.toml
Defaults and pools of all runs.
"""


def man_page() -> str:
    """The whole page."""
    parts = [line for name, command in orchestrate.every_command() for line in _command(command, name)]
    return "'\\\" t\n" + _HEAD + "\n".join(parts) + "\n" + _TAIL


def _command(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    yield f".SS {_text(name)} {_text(' '.join(command.collect_usage_pieces(context)))}"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        # click leaves the lines of such a paragraph as they are.
        is_as_it_is = paragraph.startswith("\b\n")
        lines = _text(paragraph.removeprefix("\b\n"))
        yield f".PP\n.nf\n{lines}\n.fi" if is_as_it_is else f".PP\n{re.sub(chr(10), ' ', lines)}"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and not {"--home", "--help"} & {*parameter.opts}:
            words = _text(re.sub(r"\s+", " ", record[1]))
            yield f".TP\n.B {_text(record[0])}\n{words}"


def _text(text: str) -> str:
    """As roff takes it: no line is a request, no dash a hyphen."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def write_man_page() -> None:
    """Write it where it belongs."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(man_page(), "utf-8")


if __name__ == "__main__":
    write_man_page()
