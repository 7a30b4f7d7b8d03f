"""The jobs file of a run as it is now, and the inputs that the run has with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from orchestrator.attempts.items.selection import check_patterns
from orchestrator.errors import StateRefusedError, UserError
from orchestrator.jobsfile.input_values import resolve_inputs
from orchestrator.jobsfile.load import load, user_config
from orchestrator.jobsfile.model import FileSource, JobsFile, ListSource
from orchestrator.reading.run_reader import RunReader, config_of, lines_once_more
from orchestrator.runs.run_requests import UpdateRequest
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.system.named_files import read_named

EACH = "each"
"""The one job of a run that `orchestrate each` made."""


class EditedFile(msgspec.Struct, frozen=True):
    """The jobs file as it is now, and the inputs that the run has with it. `notes`: what a person should know of them.

    `config`: the user's defaults as they are now, where the run's own copy is lost; else None.
    """

    jobs_file: JobsFile
    inputs: dict[str, Any]
    notes: list[str]
    config: bytes | None = None


def read_edited(run_dir: RunDir, request: UpdateRequest) -> EditedFile:
    """Read the file that the run was made of once more. Raises UserError, JobsFileError with every mistake."""
    # What the run had before is asked for a comparison only: a copy that is lost must not keep the run from a new one.
    reader = RunReader(run_dir, read_history(run_dir), alive=False, tell_lost=lambda _: None)
    old, selection = reader.history.header, request.selection or reader.history.selection
    if old.each:
        return _with_lines_anew(reader, request)
    # With the user's defaults as they were when the run began: only the file was edited.
    config = None
    try:
        defaults = config_of(run_dir, old)
    except StateRefusedError:
        defaults = user_config()
        config = read_named(defaults) if defaults is not None else b""
    jobs_file = load(old.jobs_file, folder=old.folder, user_config=defaults, kept=request.kept)
    check_patterns(selection.only, [job.id for job in jobs_file.jobs])
    inputs = resolve_inputs(
        jobs_file.inputs,
        request.inputs,
        file=request.inputs_file,
        kept=old.inputs,
        environment=os.environ,
        ask=request.ask_input,
    )
    return EditedFile(jobs_file, inputs, list(_input_notes(old.inputs, inputs, reader.jobs_file, jobs_file)), config)


def _with_lines_anew(reader: RunReader, request: UpdateRequest) -> EditedFile:
    """Of a run of `each`: the file that it has, over the lines as they are given once more, for its list is lost or was cut."""
    run_id = reader.run_dir.run_id
    if reader.lost_list(EACH) is None and reader.history.jobs[EACH].growing is None:
        raise UserError(f"run {run_id} was made by `orchestrate each`: it has no jobs file that could have changed")
    own = RunReader(reader.run_dir, reader.history, alive=False).jobs_file
    (source,) = (job.for_each for job in own.jobs)
    # How lines were taken apart, or combined, is written nowhere.
    if not isinstance(source, FileSource) or source.kind != "lines":
        raise UserError(f"run {run_id} lacks items, and each had several values", "run it anew: orchestrate each …")
    lines = tuple(request.lines()) if request.lines is not None else ()
    if not lines:
        raise UserError(f"run {run_id} lacks lines, and stdin has none", lines_once_more(run_id))
    anew = ListSource(values=lines, batch=source.batch)
    jobs = [msgspec.structs.replace(job, for_each=anew) for job in own.jobs]
    return EditedFile(msgspec.structs.replace(own, jobs=type(own.jobs)(jobs)), reader.history.header.inputs, [])


def _input_notes(kept: Mapping[str, Any], inputs: Mapping[str, Any], before: JobsFile, now: JobsFile) -> Iterator[str]:
    """What a person may not expect of the inputs, in words."""
    dropped = [name for name in kept if name not in inputs]
    if dropped:
        yield f"no longer declared, and dropped: input {', '.join(dropped)}"
    for name, spec in now.inputs.items():
        past = before.inputs.get(name)
        if past is not None and past.default != spec.default and inputs[name] == kept.get(name) != spec.default:
            yield f"input {name} keeps the value that the run has, not the file's new default (-i {name}=… gives another)"
