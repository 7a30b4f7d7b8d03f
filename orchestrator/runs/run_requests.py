"""What a command or a program wants: that a file, lines or a child file are run, that a run goes on or takes an edited file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from orchestrator.jobsfile.input_values import Ask
from orchestrator.jobsfile.kept_files import NOTHING_KEPT, KeptFiles
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.settings_records import RunOptions, Selection

if TYPE_CHECKING:
    from orchestrator.system.coming_input import ComingInput

Overlap = Literal["allow", "skip", "wait", "fail"]
DEFAULT_OPTIONS = RunOptions()


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What `orchestrate run FILE` was asked for. `max_age` in seconds: older unfinished runs are not continued.

    `inputs`: pairs `KEY=VALUE`; the environment may give others. `ask_input`: asks for what is then missing. A program gives the
    `values` themselves, and the file as it has `loaded` it.
    """

    jobs_file: str
    loaded: JobsFile | None = None
    values: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    inputs_file: str | None = None
    ask_input: Ask | None = None
    options: RunOptions = DEFAULT_OPTIONS
    folder: str | None = None
    run_id: str | None = None
    resume: bool = False
    max_age: float | None = None
    overlap: Overlap = "allow"
    capsule: str | None = None
    """The archive that is replayed: agents are not started; what it recorded of them is played."""


class EachRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What `orchestrate each` was asked for: the jobs file that it made, whose one job `each` runs over `lines`.

    `coming`: by which these are read, if they may still come when the run begins; None: all of them are read first.
    """

    jobs_text: str
    lines: Iterable[Any]
    coming: ComingInput | None = None
    folder: str
    options: RunOptions = DEFAULT_OPTIONS
    run_id: str | None = None


class ChildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The run that an item (`parent`: `RUN/ITEM`) starts, or goes on with. `given`: its inputs, typed.

    `is_update`: if it goes on, by the file as it is now. `kept`: what its parent has kept, its file among that.
    """

    path: str
    given: dict[str, Any]
    run_id: str
    parent: str
    options: RunOptions = DEFAULT_OPTIONS
    is_update: bool = False
    kept: KeptFiles = NOTHING_KEPT


class UpdateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Values for inputs, as of `run`: for new inputs, or instead of those that the run has. `selection`: instead of the run's.

    `kept`: of the run whose child it is, the files as these are for it now. `lines`: gives those of a run of `each` once more, if
    they are lost.
    """

    inputs: tuple[str, ...] = ()
    inputs_file: str | None = None
    ask_input: Ask | None = None
    selection: Selection | None = None
    kept: KeptFiles = NOTHING_KEPT
    lines: Callable[[], Iterable[str]] | None = None


class ResumeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is to go on. `options`: what of the run's own is to be other now.

    `keep_failed`: failed items stay so. `rerun_stale`: stale items run again. `selection`: instead of the run's; None: as before.
    `update`: by the jobs file as it is now.
    """

    options: RunOptions = DEFAULT_OPTIONS
    keep_failed: bool = False
    rerun_stale: bool = False
    selection: Selection | None = None
    update: UpdateRequest | None = None
