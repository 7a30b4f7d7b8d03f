"""Plain command lines are read without click, and as click reads them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import click
import pytest

from orchestrator.cli.group import orchestrate
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.listing import list_runs
from orchestrator.cli.plain_words import _FORMS, plain_words
from orchestrator.cli.running import run
from orchestrator.cli.running_child import run_child_file
from orchestrator.cli.standing import tell_status
from orchestrator.cli.supervising import Shown

RUNS: dict[str, Callable[..., int]] = {"run": run, "child": run_child_file, "list": list_runs, "status": tell_status}
MUST = {"run": ("file",), "child": ("file", "--run-id", "r", "--parent", "r/a:0"), "list": (), "status": ()}

PLAIN = [
    "run jobs.toml",
    "run --quiet jobs.toml",
    "run jobs.toml --home /h --quiet --home /other",
    "run jobs.toml -k --resume --fresh --events --json --detach --run-id r -C /f",
    "child --run-id r --parent r/a:0 file.toml",
    "child f --update -k --fresh --kept k --run-id r --parent r/a:0 --home /h",
    "list",
    "list --json --all --home /h",
    "status",
    "status r --json --home /h",
]
FOR_CLICK = [
    "run",
    "run a b",
    "run -",
    "run --",
    "run -- a",
    "run a --help",
    "run a -h",
    "run a --slots 2",
    "run a --run-id",
    "run a --run-id=r",
    "run a --run-id -x",
    "run a -C/f",
    "run a --quie",
    "run a -kk",
    "run a -i x=1",
    "child f --run-id r",
    "resume r",
    "list r",
    "list --since 7d",
    "status a b",
    "status --help",
    "--home /h run a",
    "--version",
]


def by_click(words: list[str]) -> tuple[dict[str, Any], str | None]:
    """What click gives a command, and the home."""
    invocation = Invocation()
    with orchestrate.make_context("orchestrate", [*words], obj=invocation) as context:
        command = orchestrate.get_command(context, words[0])
        assert command is not None
        with command.make_context(words[0], words[1:], parent=context) as inner:
            return inner.params, invocation.home_option


def filled(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """With what the command means where nothing is said."""
    defaults = {
        each.name: each.default for each in inspect.signature(RUNS[name]).parameters.values() if each.default is not each.empty
    }
    view = dict(zip(Shown.__struct_fields__, Shown.__struct_defaults__, strict=True)) if name == "run" else {}
    # Of a plain line only click hears nothing of it.
    view |= {"watch": False} if name == "status" else {}
    return {**defaults, **view, **given}


@pytest.mark.parametrize("line", PLAIN)
def test_both_readers_read_a_plain_line_alike(line: str) -> None:
    words = line.split()
    given = plain_words(words)
    assert given is not None
    home = given.pop("home", None)
    assert (filled(words[0], given), home) == by_click(words)


@pytest.mark.parametrize("line", FOR_CLICK)
def test_what_is_not_plain_is_left_to_click(line: str) -> None:
    assert plain_words(line.split()) is None


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, form in _FORMS.items() for option in form.flags | form.values]
)
def test_each_plain_option_is_one_of_clicks(name: str, option: str) -> None:
    value = ["v"] if option in _FORMS[name].values else []
    words = [name, *MUST[name], option, *value]
    given = plain_words(words)
    assert given is not None
    home = given.pop("home", None)
    assert (filled(name, given), home) == by_click(words)


def test_a_file_that_looks_like_no_option_is_a_file() -> None:
    assert plain_words(["run", ""]) == {"file": ""}
    assert by_click(["run", ""])[0]["file"] == ""
    with pytest.raises(click.UsageError):
        by_click(["run", "a", "--run-id"])
