"""The console script `orchestrate`: finds our own package, whatever else on the path of modules is called `orchestrator`.

An installation has this file beside the package, as the top-level module `orchestrate_entry`: a name that nobody else has
(pyproject.toml puts it there). With `PYTHONPATH=.` in a project that has a package `orchestrator` of its own,
`from orchestrator.cli import main` would run theirs.

Our package is the one that holds `_MARK`. It lies beside this file (a wheel, also one that was installed with `--target`), or
somewhere on the path (an editable installation).
"""

from __future__ import annotations

import os
import sys

_MARK = "orchestrator/system/own_command.py"
"""No other package of this name has such a file."""


def main() -> int:
    """Run the command line of this process, and end it with the exit code of design section 7."""
    if "orchestrator" not in sys.modules:
        _import_ours()
    from orchestrator.cli import end_process
    from orchestrator.cli import main as run_command_line

    end_process(run_command_line())


def _import_ours() -> None:
    """Import the package from its folder, put first for this one import. Its modules are found through the package afterwards."""
    beside = os.path.dirname(os.path.abspath(__file__))
    for folder in (beside, *sys.path):
        if os.path.isfile(os.path.join(folder, _MARK)):
            sys.path.insert(0, folder)
            try:
                import orchestrator  # noqa: F401
            finally:
                del sys.path[0]
            return
    raise ImportError(f"no folder on the path of modules has {_MARK}: install orchestrate-runs again")
