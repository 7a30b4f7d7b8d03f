"""The command lines that machines type most, read without click where they are plain: it costs a start a tenth.

Plain are one file and options of these tables, each written in full, its value behind it. All else (another option, help, a
mistake, a value that begins with a dash) is left to click. Both read the same words alike: a test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation


class _Form(msgspec.Struct, frozen=True):
    """Options of a command, each with the name of what it gives: flags, those with a value, the names that must be given."""

    flags: dict[str, str]
    values: dict[str, str]
    required: frozenset[str] = frozenset()


_BOTH = {"-k": "keep_going", "--keep-going": "keep_going", "--fresh": "fresh"}
_FORMS = {
    "run": _Form(
        _BOTH | {"--resume": "resume", "--quiet": "quiet", "--events": "events", "--json": "as_json", "--detach": "detach"},
        {"--home": "home", "--run-id": "run_id", "-C": "folder"},
    ),
    "child": _Form(
        _BOTH | {"--update": "update"},
        {"--home": "home", "--run-id": "run_id", "--parent": "parent", "--kept": "kept_path"},
        frozenset(("run_id", "parent")),
    ),
}


def plain_words(words: Sequence[str]) -> dict[str, Any] | None:
    """What the words of a plain command line give, by name, with its `file`; None: it is none."""
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
        elif word.startswith("-") or "file" in given:
            return None
        else:
            given["file"] = word
    return given if "file" in given and form.required <= given.keys() else None


def plain_call(words: Sequence[str]) -> Callable[[Invocation], int] | None:
    """What does as a plain command line says, and gives its exit code; None: it is none."""
    given = plain_words(words)
    if given is None:
        return None
    home = given.pop("home", None)

    def call(invocation: Invocation) -> int:
        invocation.home_option = home
        from orchestrator.system.kept_modules import import_together

        if words[0] == "run":
            import_together("run", ["orchestrator.cli.running"])
            from orchestrator.cli.running import run

            return run(invocation, **given)
        import_together("child", ["orchestrator.cli.running_child"])
        from orchestrator.cli.running_child import run_child_file

        return run_child_file(invocation, **given)

    return call
