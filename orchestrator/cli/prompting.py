"""Asking a person at the terminal for inputs that were not given."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.system.wording import shown
from orchestrator.views.outlet import Outlet

if TYPE_CHECKING:
    from orchestrator.jobsfile.input_values import Ask
    from orchestrator.jobsfile.model import InputSpec


def input_asker() -> Ask | None:
    """A function that asks a person for an input; None where nobody would see the question or could answer it."""
    if sys.stdin is None or not sys.stdin.isatty() or not Outlet(sys.stderr).isatty():
        return None
    return _ask


def _ask(name: str, spec: InputSpec, complaint: str) -> str | None:
    import json

    from orchestrator.jobsfile.inputs import INPUT_WORDS

    outlet = Outlet(sys.stderr)
    if complaint:
        outlet.line(f"  {shown(complaint)}")
    choices = ", ".join(json.dumps(choice, ensure_ascii=False) for choice in spec.enum)
    description = f": {shown(spec.description)}" if spec.description else ""
    question = f"{name}{description} ({f'one of {shown(choices)}' if choices else INPUT_WORDS[spec.type]})? "
    if spec.is_secret:
        from getpass import getpass

        with suppress(EOFError):
            return getpass(question)
        return None
    while True:
        outlet.write(question)
        outlet.flush()
        line = sys.stdin.readline()
        if not line:
            outlet.line("")
            return None  # Ctrl-D
        if line.strip():  # a person who only pressed Enter did not mean the empty text
            return line.removesuffix("\n")
