"""The files that a jobs file runs as children (`workflow`): each loads, takes what it is given, and no file runs itself.

All of it is checked when the file is loaded. A path that is a template, and values that are, are only known when their item
starts: then the item is refused for what would be told here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.inputs import build_inputs, complaints
from orchestrator.jobsfile.kept_files import FROM_DISK, Files
from orchestrator.jobsfile.keys import FileTable
from orchestrator.jobsfile.language.decode import decode, plain
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.jobsfile.language.toml_text import parse_toml, read_text
from orchestrator.jobsfile.model import InputSpec, Job, JobsFile, WorkflowAction, templates_in


class ChildFile(msgspec.Struct, frozen=True):
    """What there is to know of a jobs file before it is run: its real `path`, its `text`, the inputs that it declares."""

    path: str
    text: str
    inputs: dict[str, InputSpec]


_SECRET = "it is secret: give it by env = { ORCHESTRATE_INPUT_… }"


def read_child(path: str, files: Files = FROM_DISK) -> ChildFile:
    """The jobs file at `path`. Only its inputs are checked. Raises UserError, JobsFileError."""
    real_path = files.real_path(path)
    text = read_text(path, lambda _: files.read(real_path))
    problems = Problems(path, text)
    raw, _ = decode(plain(parse_toml(text, path), (), problems), FileTable, (), problems)
    inputs = build_inputs(raw.inputs or {}, problems)
    if lines := problems.lines():
        raise JobsFileError(path, lines)
    return ChildFile(real_path, text, inputs)


def mistakes_in(given: Mapping[str, Any], specs: Mapping[str, InputSpec], *, untold: Collection[str] = ()) -> list[str]:
    """What is wrong with the values that a child run is given: undeclared, ill-typed, missing or not allowed ones.

    A null is as good as none. `untold`: inputs that are given too, whose values are not known yet.
    """
    known = {name: value for name, value in given.items() if value is not None}
    return [
        *(f"inputs.{name}: no such input{did_you_mean(name, specs)}" for name in (*given, *untold) if name not in specs),
        *(
            f"inputs.{name}: {complaint}"
            for name, value in known.items()
            if name in specs
            for complaint in ([_SECRET] if specs[name].is_secret else complaints(value, specs[name]))
        ),
        *(
            f"inputs.{name}: required{f' ({spec.description})' if spec.description else ''}"
            for name, spec in specs.items()
            if spec.required and name not in known and name not in untold and not spec.is_secret
        ),
    ]


def values_of(given: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> dict[str, Any]:
    """Values of all inputs of a child run: `given` over the defaults. Raises JobsFileError that has every mistake."""
    mistakes = mistakes_in(given, specs)
    if mistakes:
        raise JobsFileError("inputs", mistakes)
    known = {name: value for name, value in given.items() if value is not None}
    values = {name: known.get(name, spec.default) for name, spec in specs.items()}
    if any(spec.is_secret for spec in specs.values()):
        from orchestrator.workers.secrets import mark_of

        values.update((name, mark_of(name)) for name, spec in specs.items() if spec.is_secret)
    return values


def first_of(error: JobsFileError) -> str:
    """The first of a file's mistakes, and how many more there are."""
    more = len(error.problems) - 1
    return error.problems[0] + (f" (and {more} more)" if more else "")


class ChildFiles:
    """The child files of one file, and theirs. `load(path, below)` loads one; `above`: the files on the way to it, real paths.

    `files` tells where paths lead.
    """

    def __init__(
        self,
        load: Callable[[str, ChildFiles], JobsFile],
        files: Files,
        above: tuple[str, ...] = (),
        known: dict[str, JobsFile | str] | None = None,
    ) -> None:
        self._load = load
        self._files = files
        self._above = above
        self._known: dict[str, JobsFile | str] = {} if known is None else known
        """Real path -> the file, or what is wrong with it: loaded once, however many jobs run it."""

    def of(self, path: str) -> ChildFiles:
        """Those of the file at `path` (real), which is one of these."""
        return ChildFiles(self._load, self._files, (*self._above, path), self._known)

    def check_children(self, jobs: Sequence[Job], folder: str, max_depth: int, problems: Problems) -> int:
        """Tell what is wrong with the children of `jobs`. Returns how deep runs nest. Paths are relative to `folder`."""
        nests = 0
        for job in jobs:
            if not isinstance(job.action, WorkflowAction):
                continue
            # One level at least, whatever the file is: of a templated path no more is known before its item starts.
            nests = max(nests, 1)
            if not job.action.path.is_static:
                continue
            place = ("jobs", job.id, "workflow")
            shown, path = job.action.path.source, self._files.real_path(os.path.join(folder, job.action.path.source))
            # Before it is loaded: a circle of files would be loaded without end.
            if path in self._above:
                circle = (*self._above[self._above.index(path) :], path)
                problems.tell(place, f"a file that runs itself never ends: {' -> '.join(map(os.path.basename, circle))}")
                continue
            child = self._child(path)
            if isinstance(child, str):
                problems.tell(place, child)
                continue
            nests = max(nests, child.nests + 1)
            # Values that are templates are checked when the item starts.
            known = {name: _plain(value) for name, value in job.inputs.items() if not templates_in(value)}
            untold = [name for name in job.inputs if name not in known]
            for mistake in mistakes_in(known, child.inputs, untold=untold):
                problems.tell(place, f"{shown}: {mistake}")
        if nests > max_depth:
            problems.tell(
                ("run", "max_depth"), f"the files that this one runs nest {nests} deep, and at most {max_depth} are allowed"
            )
        return nests

    def _child(self, path: str) -> JobsFile | str:
        if path not in self._known:
            try:
                self._known[path] = self._load(path, self)
            except JobsFileError as error:
                self._known[path] = first_of(error)
            except UserError as error:
                self._known[path] = error.message
        return self._known[path]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
