"""The command lines that machines type most, read without click where they are plain: it costs a start a tenth.

Plain are one file, or run, and options of these tables, each written in full, its value behind it. All else (another option,
help, a mistake, a value that begins with a dash) is left to click. Both read the same words alike: a test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


class _Form(msgspec.Struct, frozen=True):
    """Options of a command, each with the name of what it gives: flags, those with a value; the names that must be given.

    `place`: the name of what stands behind no option; empty: nothing does.
    """

    flags: dict[str, str]
    values: dict[str, str]
    required: frozenset[str] = frozenset()
    place: str = "file"


_BOTH = {"-k": "keep_going", "--keep-going": "keep_going", "--fresh": "fresh"}
_FORMS = {
    "run": _Form(
        _BOTH | {"--resume": "resume", "--quiet": "quiet", "--events": "events", "--json": "as_json", "--detach": "detach"},
        {"--home": "home", "--run-id": "run_id", "-C": "folder"},
        frozenset(("file",)),
    ),
    "child": _Form(
        _BOTH | {"--update": "update"},
        {"--home": "home", "--run-id": "run_id", "--parent": "parent", "--kept": "kept_path"},
        frozenset(("file", "run_id", "parent")),
    ),
    "list": _Form({"--json": "as_json", "--all": "with_children"}, {"--home": "home"}, place=""),
    "status": _Form({"--json": "as_json"}, {"--home": "home"}, place="run"),
}


def plain_words(words: Sequence[str]) -> dict[str, Any] | None:
    """What the words of a plain command line give, by name; None: it is none."""
    form = _FORMS.get(words[0])
    if form is None:
        return None
    given: dict[str, Any] = {}
    rest = iter(words[1:])
    for word in rest:
        if word in form.flags:
            given[form.flags[word]] = True
        elif word in form.values:
            value = next(rest, "-")
            if value.startswith("-"):
                return None
            given[form.values[word]] = value
        elif word.startswith("-") or not form.place or form.place in given:
            return None
        else:
            given[form.place] = word
    return given if form.required <= given.keys() else None


def plain_call(words: Sequence[str]) -> Callable[[Invocation], int] | None:
    """What does as a plain command line says, and gives its exit code; None: it is none."""
    # What a shell asks while somebody types.
    if words[0] == "complete":
        from orchestrator.cli.completing import complete

        return partial(complete, words=words[1:])
    given = plain_words(words)
    if given is None:
        return None
    home = given.pop("home", None)

    def call(invocation: Invocation) -> int:
        invocation.home_option = home
        from orchestrator.system.kept_modules import import_together

        match words[0]:
            case "run":
                import_together("run", ["orchestrator.cli.running", "orchestrator.views.plain_lines", "orchestrator.store.home"])
                from orchestrator.cli.running import run

                return run(invocation, **given)
            case "list":
                import_together("list", ["orchestrator.cli.listing"])
                from orchestrator.cli.listing import list_runs

                return list_runs(invocation, **given)
            case "status":
                from orchestrator.cli.standing import tell_status

                return tell_status(invocation, **given)
            case _:
                import_together("child", ["orchestrator.cli.running_child"])
                from orchestrator.cli.running_child import run_child_file

                return run_child_file(invocation, **given)

    return call
