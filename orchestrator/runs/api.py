"""The library: the functions that a program calls in place of commands. `orchestrator` gives their names; docs/library.md.

The commands stand on the same functions (`commands`). Nothing is printed, and no question is asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ExitCode
from orchestrator.jobsfile.load import load as load_file
from orchestrator.jobsfile.load import user_config
from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_result import RunResult, run_result
from orchestrator.reading.run_summary import run_summary
from orchestrator.runs import commands as runs
from orchestrator.runs.callback_listener import CallbackListener, OnEvent
from orchestrator.runs.run_requests import Overlap, ResumeRequest, RunRequest, UpdateRequest
from orchestrator.store.home import home_folder
from orchestrator.store.known_runs import find_run
from orchestrator.store.run_dir import RunDir
from orchestrator.store.settings_records import RunOptions, Selection
from orchestrator.system.stop_signals import Stopper, StopSources
from orchestrator.views.listeners import Listeners

AnyPath = str | os.PathLike[str]


def load(path: AnyPath, *, folder: AnyPath | None = None) -> JobsFile:
    """The jobs file at `path`, checked; `folder` is where its relative paths start from (default: its own folder).

    Raises JobsFileError, whose `problems` has every mistake, one line each; UserError if it cannot be read.
    """
    return load_file(path, folder=None if folder is None else os.fspath(folder), user_config=user_config())


def run(
    file: AnyPath | JobsFile,
    *,
    inputs: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    limit: int | None = None,
    slots: int | None = None,
    keep_going: bool = False,
    fresh: bool = False,
    folder: AnyPath | None = None,
    run_id: str | None = None,
    resume: bool = False,
    max_age: float | None = None,
    overlap: Overlap = "allow",
    home: AnyPath | None = None,
    on_event: OnEvent | None = None,
    stopper: Stopper | None = None,
    signals: bool = True,
) -> RunResult:
    """Run a jobs file to its end, as `orchestrate run` does, and tell what came of it: a run that failed is a result, no error.

    `inputs`: values of the types that the file declares; what is not here comes from the environment, else the defaults.
    `only` (patterns), `limit`, `slots`, `keep_going`, `fresh`, `run_id`, `resume`, `max_age` (seconds) and `overlap` are options
    of the command, `folder` its -C, `home` its --home. `on_event` is called in this thread with each happening. `stopper` stops
    the run from elsewhere. `signals`: in the main thread the first SIGINT, SIGTERM or SIGHUP drains the run, the second ends
    what runs, and SIGUSR1 makes durable what has ended; afterwards the old handlers are back. In another thread no handler is
    touched.

    A gate asks nobody: where only gates are left the run is `paused`, and `orchestrate approve` answers.

    Raises JobsFileError (mistakes in the file or the inputs), RunHeldError, StateUnwritableError, StateRefusedError, UserError
    (all of them UserErrors); ValueError for arguments that contradict each other; what `on_event` raises, after it has
    drained the run.
    """
    selection = _selection(only, limit)
    _check_slots(slots)
    if overlap not in ("allow", "skip", "wait", "fail"):
        raise ValueError(f"overlap {overlap!r}: allow, skip, wait or fail")
    if max_age is not None and not resume:
        raise ValueError("max_age says which run resume=True may continue")
    if folder is not None and isinstance(file, JobsFile):
        raise ValueError("the folder of a jobs file is given to load")
    request = RunRequest(
        jobs_file=file.path if isinstance(file, JobsFile) else os.fspath(file),
        loaded=file if isinstance(file, JobsFile) else None,
        values=dict(inputs or {}),
        options=RunOptions(slots=slots, keep_going=keep_going, fresh=fresh, selection=selection),
        folder=None if folder is None else os.fspath(folder),
        run_id=run_id,
        resume=resume,
        max_age=max_age,
        overlap=overlap,
    )
    state = home_of(home, is_made=True)
    with CallbackListener(on_event, stopper) as listener:
        stops = StopSources(signals=signals, stopper=listener.stopper)
        report = runs.run_file(state, request, Listeners([listener]), stops=stops)
    return result_of(RunDir.of(state, report.run_id), report)


def resume(
    run: str | RunResult | None = None,
    *,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    only: Sequence[str] = (),
    limit: int | None = None,
    everything: bool = False,
    update: bool = False,
    slots: int | None = None,
    keep_going: bool = False,
    fresh: bool = False,
    home: AnyPath | None = None,
    on_event: OnEvent | None = None,
    stopper: Stopper | None = None,
    signals: bool = True,
) -> RunResult:
    """Go on with a run, as `orchestrate resume` does: interrupted, pending and failed items run, the succeeded never again.

    `run`: an id, a unique prefix of one, a jobs file (its newest run), an earlier result, or None: the newest. `only` and
    `limit` replace what the run was restricted to, `everything` (--all) lifts it. `update`: by its jobs file as it is now; items
    that would do something else run again. The rest as of `run`.

    Raises RunHeldError if somebody supervises it, UserError if there is no such run, and what `run` raises.
    """
    selection = _selection(only, limit)
    if everything and selection != Selection():
        raise ValueError("everything, or only and limit")
    _check_slots(slots)
    run_dir = find(run, home)
    chosen = selection if everything or selection != Selection() else None
    request = ResumeRequest(
        options=RunOptions(slots=slots, keep_going=keep_going, fresh=fresh),
        keep_failed=keep_failed,
        rerun_stale=rerun_stale,
        selection=chosen,
        update=UpdateRequest(selection=chosen) if update else None,
    )
    with CallbackListener(on_event, stopper) as listener:
        stops = StopSources(signals=signals, stopper=listener.stopper)
        report = runs.resume_run(run_dir, request, Listeners([listener]), stops=stops)
    return result_of(run_dir, report)


def read_run(run: str | RunResult | None = None, *, home: AnyPath | None = None) -> RunResult:
    """How a run stands now, whoever runs it; `run` as of `resume`. Takes no lock and changes nothing.

    A run whose supervisor was killed is `interrupted`. Raises UserError (no such run), StateRefusedError.
    """
    run_dir = find(run, home)
    reader = RunReader.read(run_dir)
    ended = reader.history.ended
    exit_code = int(ExitCode.INTERRUPTED) if ended is None else ended.exit_code
    summary = run_summary(reader)
    if summary["status"] == "running":
        return run_result(run_dir, summary, "running", None)
    return run_result(run_dir, summary, summary["status"], exit_code)


def home_of(home: AnyPath | None, *, is_made: bool) -> Path:
    """The state folder; `is_made`: it is made if it is missing. Raises UserError, StateUnwritableError."""
    return home_folder(None if home is None else os.fspath(home), is_made=is_made)


def find(run: str | RunResult | None, home: AnyPath | None) -> RunDir:
    """The run that is meant, as of `resume`. Raises UserError."""
    return RunDir(Path(run.directory)) if isinstance(run, RunResult) else find_run(home_of(home, is_made=False), run)


def _selection(only: Sequence[str], limit: int | None) -> Selection:
    if isinstance(only, str):
        raise TypeError("only: a list of patterns, not one text")
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit}: at least 1")
    return Selection(only=tuple(only), limit=limit)


def _check_slots(slots: int | None) -> None:
    if slots is not None and slots < 0:
        raise ValueError(f"slots {slots}: at least 0")


def result_of(run_dir: RunDir, report: runs.RunReport) -> RunResult:
    """What a session came to."""
    return run_result(run_dir, report.summary, report.status, report.exit_code)
