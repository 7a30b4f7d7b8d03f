"""One call of the program: the home that it works in, and the run that it is about (where the traceback of a bug goes)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Concatenate, ParamSpec, TypeVar

    from orchestrator.store.run_dir import RunDir

    P = ParamSpec("P")
    R = TypeVar("R")


class Invocation:
    """`home_option`: the value of --home. `is_last`: --last is given. `run_dir`: the run that this call works on, once it is
    known."""

    def __init__(self) -> None:
        self.home_option: str | None = None
        self.is_last = False
        self.run_dir: RunDir | None = None

    def home(self, *, is_made: bool = False) -> Path:
        """The state folder; `is_made`: it is made if it is missing. Raises UserError, StateUnwritableError."""
        from orchestrator.store.home import home_folder

        return home_folder(self.home_option, is_made=is_made)

    def program(self) -> str:
        """The program as the user calls it, for commands in messages: with --home if it was given."""
        if not self.home_option:
            return "orchestrate"
        from orchestrator.system.wording import shell_word

        return f"orchestrate --home {shell_word(self.home_option)}"

    def find(self, reference: str | None) -> RunDir:
        """The run that `reference` names (None: the newest). This call is about it from now on. Raises UserError."""
        from orchestrator.errors import UserError
        from orchestrator.store.known_runs import find_run

        if self.is_last and reference is not None:
            raise UserError("RUN and --last cannot both be given", "leave one of them out")
        self.run_dir = find_run(self.home(), reference)
        self.hide_secrets_of(self.run_dir)
        return self.run_dir

    def hide_secrets_of(self, run_dir: RunDir) -> None:
        """Show no secret that a supervisor of that run had, whatever this process has."""
        # Not `exists`, which raises for a run's folder that we may not enter.
        if not os.path.lexists(run_dir.secrets):
            return
        from orchestrator.store.known_secrets import known_secrets
        from orchestrator.system.redaction import remember

        if (known := known_secrets(run_dir)) is not None:
            remember(known)
        else:
            from orchestrator.cli.noting import tell_note

            tell_note(f"{run_dir.secrets} cannot be read: the run's secrets are shown")

    def crash_log(self) -> Path | None:
        """The file for a traceback: the run's supervisor.log, else crash.log in the home; None if there is no home."""
        from orchestrator.errors import UserError

        if self.run_dir is not None:
            return self.run_dir.log
        try:
            return self.home(is_made=True) / "crash.log"
        except UserError:
            return None


def pass_invocation(command: Callable[Concatenate[Invocation, P], R]) -> Callable[P, R]:
    """Have `command` called with the invocation first."""
    import click  # `--version` is answered without it.

    return click.make_pass_decorator(Invocation)(command)
