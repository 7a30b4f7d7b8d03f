"""What the names of Spec Kit's expressions mean at one place of a workflow: `inputs`, `steps`, `item`, `fan_in`, `context`.

A path that leads nowhere is null, as in Spec Kit. Where that is hardly what the author meant, a note tells of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.cli.importing.code import NULL, Code, field_of, jobs_of, literal, quoted
from orchestrator.cli.importing.expressions import Path
from orchestrator.cli.importing.jobs import Guards, MadeJob
from orchestrator.cli.importing.notes import Notes
from orchestrator.cli.importing.printing import Printer, Results
from orchestrator.cli.importing.workflow import Step

Part = str | int


@dataclass(frozen=True, slots=True)
class Branching:
    """A step that became conditions of jobs (`if`, `switch`, a loop), with its outputs by name."""

    step: Step
    outputs: Mapping[str, Code]
    guards: Guards


@dataclass(slots=True)
class Known:
    """What is known in the whole workflow.

    `inputs`: by name. `steps`: by id. `json_steps`: ids of steps whose output is read as JSON. `ran`: id -> what the step became
    so far, in order (a step of a loop that is written out becomes several jobs). `being_read`: paths that are being translated.
    """

    notes: Notes
    inputs: Mapping[str, Code]
    steps: Mapping[str, Step]
    json_steps: frozenset[str]
    ran: dict[str, list[MadeJob | Branching]] = dataclasses.field(default_factory=dict)
    being_read: set[tuple[Part, ...]] = dataclasses.field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Scope:
    """The names at one place, which belongs to `step`.

    `has_item`: the place is inside of a fan-out. `chain`: the job that the place follows item by item; its item is `parent`.
    `round_of`: the place is the condition of this step's rounds, where the step's output is that of its last round. `loop`: ids
    of the steps of the loop around; in its first round not all of them have run. `waits_for`: the steps that a fan-in gathers.
    """

    known: Known
    step: Step
    guards: Guards = ()
    has_item: bool = False
    chain: MadeJob | None = None
    round_of: str = ""
    loop: frozenset[str] = frozenset()
    waits_for: tuple[str, ...] | None = None

    def lost(self, words: str) -> None:
        """Note that something could not be carried."""
        self.known.notes.lost(self.step.line, self.step.id, words)

    def changed(self, words: str) -> None:
        """Note that something is different here, and worth a look."""
        self.known.notes.changed(self.step.line, self.step.id, words)

    def code_of(self, path: Path) -> Code | Results:
        """The value of a path."""
        match path.parts:
            case ("inputs", str(name), *rest):
                return self._input(name, rest)
            case ("steps", str(id_), *rest):
                return self._step(id_, rest)
            case ("item", *rest) if self.has_item:
                return Code(field_of("item", rest))
            case ("context", "run_id"):
                return Code("run.id", "text")
            case ("fan_in", "results", *rest) if self.waits_for is not None:
                return self._fan_in(rest)
        self.changed(f"{_dotted(path.parts)}: no name that is known there: null, as in Spec Kit")
        return NULL

    def parsed(self, path: Path) -> Code | None:
        """The value of `path | from_json`: the output of a step whose job reads it as JSON; None for any other path."""
        match path.parts:
            case ("steps", str(id_), "output", "stdout") if id_ in self.known.json_steps:
                found = self._step(id_, ["output", "data"])
                return found if isinstance(found, Code) else None
        return None

    def _input(self, name: str, rest: Sequence[Part]) -> Code:
        code = self.known.inputs.get(name)
        if code is None or rest:
            self.changed(f"{_dotted(('inputs', name, *rest))}: no such input: null, as in Spec Kit")
            return NULL
        return code

    # Steps.

    def _step(self, id_: str, rest: Sequence[Part]) -> Code | Results:
        if id_ == self.round_of:
            return self._last_round(rest)
        ran = self.known.ran.get(id_, [])
        if not ran:
            if id_ not in self.loop:
                words = "has not run here" if id_ in self.known.steps else "is no step"
                self.changed(f"{_dotted(('steps', id_, *rest))}: {words}: null, as in Spec Kit")
            return NULL
        latest = ran[-1]
        if isinstance(latest, MadeJob) and latest.is_fan_out and not latest.is_whole_fan_out and self.has_item:
            return self._of_same_item(latest, rest)
        if isinstance(latest, MadeJob) and latest.is_fan_out:
            return self._fan_out(latest, rest)
        # A step in a branch, or in a loop that is written out, became several jobs, some of which may be skipped: the value is
        # that of the last one that has run. One that has certainly run hides all before it.
        candidates: list[Code] = []
        is_certain = False
        for each in reversed(ran):
            candidates.insert(0, self._field(each, rest))
            is_certain = each.guards == self.guards[: len(each.guards)]
            if is_certain:
                break
        if len(candidates) == 1:
            return candidates[0] if is_certain else replace(candidates[0], is_nullable=True)
        latest_of = f"([{', '.join(code.text for code in candidates)}] | reject('none') | list | last | default(none))"
        return Code(latest_of, candidates[-1].kind, not is_certain, 4, jobs_of(candidates))

    def _last_round(self, rest: Sequence[Part]) -> Code:
        match rest:
            case ["output", "exit_code"]:
                return Code("exit_code", "number", is_nullable=True)
            case ["output", "stdout"] if self.round_of not in self.known.json_steps:
                return Code("output", "text", is_nullable=True)
            case ["output", "stdout" | "data", *more]:
                return Code(field_of("output", more), is_nullable=True)
        return self._unknown(("steps", self.round_of, *rest))

    def _of_same_item(self, job: MadeJob, rest: Sequence[Part]) -> Code:
        """The result, for the same item, of a step that stands before this one inside of a fan-out."""
        result = "parent" if job is self.chain else f"jobs.{job.id}.results[index]"
        jobs = frozenset({job.id})
        match rest:
            case ["output", "stdout" | "data" | "choice", *more]:
                kind = "text" if job.form != "json" and not more else "unknown"
                return Code(field_of(f"{result}.output", more), kind, True, 4, jobs)  # type: ignore[arg-type]
            case ["output", "exit_code"]:
                return Code(f"{result}.exit_code", "number", True, 4, jobs)
        return self._unknown(("steps", job.step.id, *rest))

    def _field(self, ran: MadeJob | Branching, rest: Sequence[Part]) -> Code:
        if isinstance(ran, Branching):
            match rest:
                case ["output", str(name)] if name in ran.outputs:
                    return ran.outputs[name]
            return self._unknown(("steps", ran.step.id, *rest))
        # A fan-in has its whole output; the fields of all others depend on their form.
        job, jobs = f"jobs.{ran.id}", frozenset({ran.id})
        match rest:
            case ["output"] if ran.form == "fan-in":
                return Code(f"{job}.output", jobs=jobs)
            case ["output", field, *more]:
                return self._output(ran, str(field), more)
            case ["status"]:
                return Code(f"('failed' if {job}.failed else 'completed')", "text", jobs=jobs)
            case ["error"]:
                return Code(f"{job}.results[0].error", "text", True, 4, jobs)
        return self._unknown(("steps", ran.step.id, *rest))

    def _output(self, ran: MadeJob, name: str, more: Sequence[Part]) -> Code:
        # By form and field; a field that no job has may be a key of the step itself, which Spec Kit repeats in the output.
        output, jobs = f"jobs.{ran.id}.output", frozenset({ran.id})
        match ran.form, name:
            case "fan-in", _:
                return Code(field_of(output, [name, *more]), jobs=jobs)
            case "gate", "choice":
                return _choice(ran, output)
            case "gate", "aborted":
                return literal(False)
            case "json", "data":
                return Code(field_of(output, more), "unknown", ran.can_be_null, 4, jobs)
            case "json", "stdout":
                return Code(output, "unknown", ran.can_be_null, 4, jobs).filtered("tojson", "text")
            case (("shell" | "agent"), "stdout"):
                if ran.can_be_null and ran.step.get("continue_on_error"):
                    self.changed(f"steps.{ran.step.id}.output.stdout: null where the step failed; Spec Kit keeps it")
                return Code(output, "text", ran.can_be_null, 4, jobs)
            case (("shell" | "agent" | "json"), "exit_code"):
                return Code(f"jobs.{ran.id}.results[0].exit_code", "number", ran.can_be_null, 4, jobs)
            case (("shell" | "agent" | "json"), "stderr"):
                self.changed(f"steps.{ran.step.id}.output.stderr: the path of a file with it")
                return Code(f"jobs.{ran.id}.results[0].stderr", "text", True, 4, jobs)
        return self._repeated(ran.step, (name, *more))

    def _repeated(self, step: Step, parts: tuple[Part, ...]) -> Code:
        """The value of a key in the step's own table: Spec Kit repeats the table in the step's output."""
        value: Any = step.table
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        place = (step.id, *parts)
        if not isinstance(value, str | int | float) or place in self.known.being_read:
            return self._unknown(("steps", step.id, "output", *parts))
        if not isinstance(value, str):
            return literal(value)
        self.known.being_read.add(place)  # a text that names itself would be read for ever
        try:
            return Printer(self).value(value)
        finally:
            self.known.being_read.remove(place)

    def _fan_out(self, job: MadeJob, rest: Sequence[Part]) -> Code | Results:
        own, jobs = f"jobs.{job.id}", frozenset({job.id})
        match rest:
            case ["output", "results"]:
                return _ItemResults(self, job)
            case ["output", "results", int(index), *more]:
                return self._item_field(job, f"[{index}]", [str(part) for part in more])
            case ["output", "items"]:
                return Code(f"{own}.results | map(attribute='value') | list", "list", jobs=jobs)
            case ["output", "item_count"]:
                return Code(f"{own}.results | length", "number", jobs=jobs)
            case ["status"]:
                return Code(f"('failed' if {own}.failed else 'completed')", "text", jobs=jobs)
        return self._unknown(("steps", job.step.id, *rest))

    def _item_field(self, job: MadeJob, index: str, parts: Sequence[str]) -> Code:
        jobs = frozenset({job.id})
        match parts:
            case ["stdout" | "data" | "choice", *more]:
                kind = "text" if job.form != "json" else "unknown"
                return Code(field_of(f"jobs.{job.id}.outputs{index}", more), kind, True, 4, jobs)  # type: ignore[arg-type]
            case ["exit_code"]:
                return Code(f"jobs.{job.id}.results{index}.exit_code", "number", True, 4, jobs)
        return self._unknown(("steps", job.step.id, "output", "results", *parts))

    # Fan-in.

    def _fan_in(self, rest: Sequence[Part]) -> Code | Results:
        waits_for = self.waits_for or ()
        match rest:
            case []:
                return _StepOutputs(self, waits_for)
            case [int(index), *more] if index < len(waits_for):
                return self._step(waits_for[index], ["output", *more])
        return self._unknown(("fan_in", "results", *rest))

    def whole_output(self, id_: str) -> Code:
        """The output of one step, as a fan-in gathers it."""
        ran = self.known.ran.get(id_, [])
        if not ran:
            return NULL
        jobs = [each for each in ran if isinstance(each, MadeJob)]
        if not jobs:
            self.lost(f"the output of {id_}, which is no job here")
            return NULL
        latest = jobs[-1]
        return Code(
            f"jobs.{latest.id}.{'outputs' if latest.is_fan_out else 'output'}", "unknown", True, 4, frozenset({latest.id})
        )

    def _unknown(self, parts: Iterable[Part]) -> Code:
        self.lost(f'{_dotted(parts)}: no such field here, so null; a job with output = "json" can have fields of its own')
        return NULL


@dataclass(frozen=True, slots=True)
class _ItemResults:
    """`steps.FAN_OUT.output.results`."""

    scope: Scope
    job: MadeJob

    def whole(self) -> Code:
        """The outputs of all items, without the other fields of their results."""
        self.scope.changed(f"steps.{self.job.step.id}.output.results: the outputs alone, in item order")
        return Code(f"jobs.{self.job.id}.outputs", "list", jobs=frozenset({self.job.id}))

    def each(self, parts: Sequence[str]) -> Code:
        """One field of each."""
        jobs = frozenset({self.job.id})
        match parts:
            case ["stdout"] if self.job.form == "json":
                return Code(f"jobs.{self.job.id}.outputs | map('tojson') | list", "list", jobs=jobs)
            case ["stdout" | "data" | "choice", *more]:
                outputs = f"jobs.{self.job.id}.outputs"
                text = f"{outputs} | map(attribute={quoted('.'.join(more))}) | list" if more else outputs
                return Code(text, "list", jobs=jobs)
            case ["exit_code"]:
                return Code(f"jobs.{self.job.id}.results | map(attribute='exit_code') | list", "list", jobs=jobs)
        self.scope.lost(f"{'.'.join(parts)} of each of steps.{self.job.step.id}.output.results")
        return literal(None)


@dataclass(frozen=True, slots=True)
class _StepOutputs:
    """`fan_in.results`."""

    scope: Scope
    ids: tuple[str, ...]

    def whole(self) -> Code:
        """The outputs of all steps, without the other fields of their results."""
        return self._list(self.scope.whole_output(id_) for id_ in self.ids)

    def each(self, parts: Sequence[str]) -> Code:
        """One field of each."""
        found = [self.scope.code_of(Path(("steps", id_, "output", *parts))) for id_ in self.ids]
        return self._list(each if isinstance(each, Code) else each.whole() for each in found)

    def _list(self, found: Iterable[Code]) -> Code:
        codes = list(found)
        return Code(f"[{', '.join(code.text for code in codes)}]", "list", jobs=jobs_of(codes))


def _choice(gate: MadeJob, output: str) -> Code:
    """The choice at a gate. A gate whose rejection skips it has no output then: the value is the rejecting option."""
    code = Code(output, "text", False, 4, frozenset({gate.id}))
    if not gate.can_be_skipped:
        return code
    rejecting = next((each for each in gate.keys["options"] if each in ("reject", "abort")), "reject")
    return code.filtered(f"default({quoted(rejecting)}, true)", "text")


def _dotted(parts: Iterable[Part]) -> str:
    return field_of("", parts).removeprefix(".")
