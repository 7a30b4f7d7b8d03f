"""A supervisor for slow, paid, flaky commands over many items. docs/library.md for programs, docs/architecture.md for the inside.

The names of the library are loaded when they are first asked for: the command line imports this package, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from orchestrator.attempts.workspaces.landing import Landed
    from orchestrator.errors import ExitCode, JobsFileError, RunHeldError, StateRefusedError, StateUnwritableError, UserError
    from orchestrator.jobsfile.model import JobsFile
    from orchestrator.reading.run_result import ItemResult, JobResult, Results, RunError, RunResult, RunSelection
    from orchestrator.runs.api import load, read_run, resume, run
    from orchestrator.runs.async_api import resume_async, run_async
    from orchestrator.runs.handle import Run
    from orchestrator.runs.mapping import map_items as map  # noqa: A004 (it is called so)
    from orchestrator.system.stop_signals import Stopper
    from orchestrator.views import happenings

__all__ = [
    "ExitCode",
    "ItemResult",
    "JobResult",
    "JobsFile",
    "JobsFileError",
    "Landed",
    "Results",
    "Run",
    "RunError",
    "RunHeldError",
    "RunResult",
    "RunSelection",
    "StateRefusedError",
    "StateUnwritableError",
    "Stopper",
    "UserError",
    "happenings",
    "load",
    "map",
    "read_run",
    "resume",
    "resume_async",
    "run",
    "run_async",
]

_MODULES = {
    "attempts.workspaces.landing": ("Landed",),
    "runs.async_api": ("resume_async", "run_async"),
    "errors": ("ExitCode", "JobsFileError", "RunHeldError", "StateRefusedError", "StateUnwritableError", "UserError"),
    "jobsfile.model": ("JobsFile",),
    "runs.api": ("load", "read_run", "resume", "run"),
    "runs.callback_listener": ("happenings",),
    "runs.handle": ("Run",),
    "reading.run_result": ("ItemResult", "JobResult", "Results", "RunError", "RunResult", "RunSelection"),
    "system.stop_signals": ("Stopper",),
}
_CALLED_OTHERWISE = {"map": ("orchestrator.runs.mapping", "map_items")}
"""Inside nothing takes the name of what Python has."""

_MODULE_OF = {name: f"orchestrator.{module}" for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name):
        module, inside = _CALLED_OTHERWISE.get(name) or (_MODULE_OF.get(name), name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(module), inside)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
