"""One call of the program: which home it works in, and which run it is about (for the traceback of a bug)."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from orchestrator.store.run_dir import RunDir


@dataclass
class Invocation:
    """`home_option`: what --home said. `run_dir`: the run that this call works on, once that is known."""

    home_option: str | None = None
    run_dir: RunDir | None = None

    def home(self, *, is_made: bool = False) -> Path:
        """The state folder; `is_made`: there is one afterwards. Raises UserError, StateUnwritableError."""
        from orchestrator.store.home import home_folder

        return home_folder(self.home_option, is_made=is_made)

    def program(self) -> str:
        """How the user calls this program, for the commands that messages name."""
        return f"orchestrate --home {shlex.quote(self.home_option)}" if self.home_option else "orchestrate"

    def find(self, reference: str | None) -> RunDir:
        """The run that `reference` names, remembered as what this call is about. Raises UserError."""
        from orchestrator.store.known_runs import find_run

        self.run_dir = find_run(self.home(), reference)
        return self.run_dir

    def crash_log(self) -> Path | None:
        """Where a traceback belongs: the run's supervisor.log, else crash.log in the home; None where there is no home."""
        from orchestrator.errors import UserError

        if self.run_dir is not None:
            return self.run_dir.log
        try:
            return self.home(is_made=True) / "crash.log"
        except UserError:
            return None


pass_invocation = click.make_pass_decorator(Invocation)
