"""Translates a Spec Kit workflow file into the text of a jobs file, with notes on differences and losses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from orchestrator.cli.importing.expressions import paths_parsed_as_json
from orchestrator.cli.importing.flattening import Flattening
from orchestrator.cli.importing.inputs import translate_inputs
from orchestrator.cli.importing.jobs import MadeJob
from orchestrator.cli.importing.notes import Mistakes, Note, Notes
from orchestrator.cli.importing.scope import Known
from orchestrator.cli.importing.toml_text import assignment, comment, key_text
from orchestrator.cli.importing.workflow import Step, Workflow, read_workflow
from orchestrator.cli.importing.yaml_file import read_yaml
from orchestrator.errors import JobsFileError


@dataclass(frozen=True, slots=True)
class Translation:
    """`text`: of the jobs file. `notes`: what a person has to know, in the order of the workflow's lines."""

    text: str
    notes: list[Note]
    job_count: int

    @property
    def lost_count(self) -> int:
        """How many things were not carried."""
        return sum(note.is_lost for note in self.notes)


def translate(path: str) -> Translation:
    """The workflow at `path` as a jobs file. Raises UserError; JobsFileError, which has all mistakes of the workflow."""
    notes, mistakes = Notes(), Mistakes(path)
    workflow = read_workflow(read_yaml(path), path, notes)
    inputs = translate_inputs(workflow.inputs, notes, mistakes)
    if mistakes.lines:
        raise JobsFileError(path, mistakes.lines)
    steps = {step.id: step for top in workflow.steps for step in top.within()}
    known = Known(notes, inputs.codes, steps, frozenset(_json_steps(steps.values())))
    made = Flattening(workflow, known)
    if not made.jobs:
        raise JobsFileError(path, [f"{path}:1: nothing to run: no step of it becomes a job"])
    text = "\n".join(_lines(workflow, path, inputs.tables, made, notes)) + "\n"
    return Translation(text, sorted(notes.all, key=lambda note: note.line), len(made.jobs))


def _json_steps(steps: Iterable[Step]) -> Iterator[str]:
    """The ids of the shell steps whose output some expression reads as JSON."""
    for step in steps:
        for text in _texts(step.table):
            for found in paths_parsed_as_json(text):
                match found.parts:
                    case ("steps", str(id_), "output", "stdout"):
                        yield id_


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if key not in ("then", "else", "steps", "cases", "step"):
                yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _lines(
    workflow: Workflow, path: str, inputs: Mapping[str, Mapping[str, Any]], made: Flattening, notes: Notes
) -> Iterator[str]:
    # The head says where the file comes from, and what its reader has to look for.
    file = PurePath(path).name
    yield comment(f"{workflow.description or workflow.id or file}")
    yield comment(f"Made of the Spec Kit workflow {file} by `orchestrate import`.")
    if notes.lost_count:
        yield comment(f"{notes.lost_count} things of it could not be carried: look for NOT CARRIED.")
    if any("shell" in job.keys for job in made.jobs):
        yield comment(
            "In shell each {{ }} is one quoted word, also where it stood inside quotes; {{ … | raw }} is pasted in as it is."
        )
    yield from _told(notes.of(""))
    # Then name, inputs and jobs; a note stands above what it is about, and once.
    yield ""
    yield assignment("name", _name(workflow, path))
    for name, table in inputs.items():
        yield ""
        yield from _told(notes.of(f"inputs.{name}"))
        yield f"[inputs.{key_text(name)}]"
        for key, value in table.items():
            yield assignment(key, value)
    told: set[str] = set()
    for job in made.jobs:
        yield ""
        for place in job.places:
            if place not in told:
                told.add(place)
                yield from _told(notes.of(place))
        yield from _job(job)
    # Steps behind which no job came have their notes at the end.
    rest = [place for place in made.left_over if place not in told]
    for place in rest:
        lines = list(_told(notes.of(place)))
        yield from ["", *lines] if lines else []


def _name(workflow: Workflow, path: str) -> str:
    return re.sub(r"\s+", " ", workflow.id).strip() or PurePath(path).stem


def _told(notes: Iterable[Note]) -> Iterator[str]:
    for note in notes:
        yield comment(f"{'NOT CARRIED' if note.is_lost else 'Note'}: {note.words}")


def _job(job: MadeJob) -> Iterator[str]:
    yield f"[jobs.{job.id}]"
    needs = [need.id for need in job.after if need is not job.chain]
    if needs:
        yield assignment("needs", needs)
    if job.when is not None:
        yield assignment("when", job.when)
    for key, value in sorted(job.keys.items(), key=lambda pair: pair[0] not in ("for_each", "max_concurrency")):
        yield assignment(key, value)
