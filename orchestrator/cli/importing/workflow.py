"""A Spec Kit workflow as its file has it: steps, inputs, defaults. All mistakes by that format's own rules are told at once."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cli.importing.notes import Mistakes, Notes
from orchestrator.cli.importing.yaml_file import Table
from orchestrator.errors import JobsFileError
from orchestrator.workers.lazy_pattern import lazy_pattern

_EVERY_KEY = frozenset({"id", "type", "continue_on_error"})
_REQUIRED: dict[str, dict[str, tuple[type, ...]]] = {
    "command": {"command": (str,)},
    "prompt": {"prompt": (str,)},
    "shell": {"run": (str,)},
    "gate": {"message": (str,)},
    "if": {"condition": (str, bool), "then": (list,)},
    "switch": {"expression": (str, bool, int, float), "cases": (dict,)},
    "while": {"condition": (str, bool)},
    "do-while": {"condition": (str, bool)},
    "fan-out": {"items": (str, list), "step": (dict,)},
    "fan-in": {"wait_for": (list,)},
    "init": {},
}
_OPTIONAL: dict[str, dict[str, tuple[type, ...]]] = {
    "command": {"input": (dict,), "options": (dict,), "integration": (str,), "model": (str,)},
    "prompt": {"timeout": (int, float), "integration": (str,), "model": (str,)},
    "shell": {"timeout": (int, float), "output_format": (str,)},
    "gate": {"options": (list,), "on_reject": (str,), "show_file": (str,), "verdict_input": (str,)},
    "if": {"else": (list,)},
    "switch": {"default": (list,)},
    "while": {"max_iterations": (int,), "steps": (list,)},
    "do-while": {"max_iterations": (int,), "steps": (list,)},
    "fan-out": {"max_concurrency": (int, float, str)},
    "fan-in": {"output": (dict,)},
    "init": {
        **dict.fromkeys(("project", "integration", "integration_options", "script", "preset"), (str,)),
        **dict.fromkeys(("here", "force", "ignore_agent_tools"), (bool, str)),
    },
}
_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a mapping"}
_ON_REJECT = ("abort", "skip", "retry")
_CONDITION = lazy_pattern(r"\s*(?:\{\{.*\}\}|true|false)\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `branches`: its nested lists of steps by name (then, else, steps, default, and `case KEY`)."""

    id: str
    type: str
    line: int
    table: Table
    branches: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    template: Step | None = None

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; `default` if the key is missing or null."""
        value = self.table.get(key)
        return default if value is None else value

    def within(self) -> Iterator[Step]:
        """The step itself, then all steps inside of it."""
        yield self
        for steps in self.branches.values():
            for step in steps:
                yield from step.within()
        if self.template is not None:
            yield from self.template.within()


@dataclass(frozen=True, slots=True)
class Workflow:
    """A whole workflow. `inputs`: name -> its table."""

    id: str
    description: str
    integration: str | None
    model: str | None
    inputs: dict[str, Table]
    steps: tuple[Step, ...]


def read_workflow(document: Any, path: str, notes: Notes) -> Workflow:
    """The workflow that a YAML document describes. Raises JobsFileError, which has every mistake."""
    # A file that is no workflow at all has one mistake: the others would say nothing.
    mistakes = Mistakes(path)
    if not isinstance(document, Table):
        raise JobsFileError(path, [f"{path}:1: not a workflow: the file is not a mapping"])
    if not isinstance(document.get("steps"), list) or not document["steps"]:
        actions = isinstance(document.get("jobs"), dict)
        hint = "; this looks like GitHub Actions, and only Spec Kit workflows can be imported" if actions else ""
        raise JobsFileError(path, [f"{path}:{document.line_of('steps')}: not a workflow: it has no list of steps{hint}"])
    # From here on mistakes are gathered, part by part.
    version = document.get("schema_version", "1.0")
    if str(version) != "1.0":
        mistakes.tell(document.line_of("schema_version"), f"schema_version {version!r}: only 1.0 is known")
    about = _table(document, "workflow", mistakes)
    _note_the_rest(document, about, mistakes, notes)
    reader = _Reader(mistakes, notes)
    steps = reader.steps(document["steps"], document.line_of("steps"), set(), in_template=False)
    inputs = _table(document, "inputs", mistakes)
    for name, declared in inputs.items():
        if not isinstance(declared, Table):
            mistakes.tell(inputs.line_of(name), f"input {name}: expected a mapping")
    texts = {key: _text_of(about, key, mistakes) for key in ("id", "description", "integration", "model")}
    if mistakes.lines:
        raise JobsFileError(path, mistakes.lines)
    return Workflow(texts["id"] or "", texts["description"] or "", texts["integration"], texts["model"], dict(inputs), steps)


def _note_the_rest(document: Table, about: Table, mistakes: Mistakes, notes: Notes) -> None:
    for key in document.keys() - {"schema_version", "workflow", "requires", "inputs", "steps"}:
        notes.lost(document.line_of(key), "", f"the key {key}")
    if about.get("options"):
        notes.lost(about.line_of("options"), "", "workflow.options: Spec Kit records them and uses none")
    requires = _table(document, "requires", mistakes)
    if requires:
        told = ", ".join(f"{key} {_plain_words(value)}" for key, value in requires.items())
        notes.changed(document.line_of("requires"), "", f"requires: {told}; checked by nobody here")


def _plain_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain_words(each)}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(owner: Table, key: str, mistakes: Mistakes) -> Table:
    value = owner.get(key)
    if value is not None and not isinstance(value, Table):
        mistakes.tell(owner.line_of(key), f"{key}: expected a mapping")
    return value if isinstance(value, Table) else Table(owner.line_of(key))


def _text_of(about: Table, key: str, mistakes: Mistakes) -> str | None:
    value = about.get(key)
    if value is not None and not isinstance(value, str):
        mistakes.tell(about.line_of(key), f"workflow.{key}: expected text")
        return None
    return value or None


class _Reader:
    def __init__(self, mistakes: Mistakes, notes: Notes) -> None:
        self._mistakes = mistakes
        self._notes = notes

    def steps(self, listed: Any, line: int, seen: set[str], *, in_template: bool) -> tuple[Step, ...]:
        steps = []
        for each in listed if isinstance(listed, list) else ():
            if isinstance(each, Table):
                step = self._step(each, seen, in_template=in_template)
                steps += [step] if step is not None else []
            else:
                self._mistakes.tell(line, "a step is a mapping")
        return tuple(steps)

    def _step(self, table: Table, seen: set[str], *, in_template: bool) -> Step | None:
        # Without an id and a known type nothing else of the step can be judged.
        id_ = table.get("id")
        if not isinstance(id_, str) or not id_ or ":" in id_:
            self._mistakes.tell(table.line_of("id"), f"a step has an id, which is text without a colon, got {id_!r}")
            return None
        if id_ in seen:
            self._mistakes.tell(table.line_of("id"), f"step {id_}: the id stands twice")
        seen.add(id_)
        type_ = table.get("type", "command")
        if not isinstance(type_, str) or type_ not in _REQUIRED:
            close = difflib.get_close_matches(str(type_), _REQUIRED, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_REQUIRED)}"
            self._mistakes.tell(table.line_of("type"), f"step {id_}: unknown type {type_!r}; {hint}")
            return None
        # The step itself first: `wait_for` may name only steps before it, and those inside it come later.
        self._check_keys(table, id_, type_)
        self._check_values(table, id_, type_, seen)
        branches: dict[str, tuple[Step, ...]] = {
            key: self.steps(table.get(key), table.line_of(key), seen, in_template=in_template)
            for key in ("then", "else", "steps", "default")
            if key in _REQUIRED[type_] or key in _OPTIONAL[type_]
        }
        cases = table.get("cases") if type_ == "switch" else None
        cases = cases if isinstance(cases, Table) else Table(table.line)
        for key, listed in cases.items():
            if not isinstance(listed, list):
                self._mistakes.tell(cases.line_of(key), f"step {id_}: case {key}: expected a list of steps")
            branches[f"case {key}"] = self.steps(listed, cases.line_of(key), seen, in_template=in_template)
        # The template of a fan-out has ids of its own: it stands for many steps.
        template = None
        if type_ == "fan-out" and isinstance(table.get("step"), Table):
            inner = table["step"]
            if "id" not in inner:
                inner["id"] = "item"
            template = self._step(inner, set(), in_template=True)
        return Step(id_, type_, table.line, table, branches, template)

    def _check_keys(self, table: Table, id_: str, type_: str) -> None:
        # An unknown key is no mistake in Spec Kit, but nothing that could be carried.
        required, optional = _REQUIRED[type_], _OPTIONAL[type_]
        for key in required:
            if key not in table:
                self._mistakes.tell(table.line, f"step {id_}: a {type_} step has the key {key}")
        for key, value in table.items():
            types = required.get(key) or optional.get(key)
            if types is None:
                if key not in _EVERY_KEY:
                    self._notes.lost(table.line_of(key), id_, f"the key {key}, which a {type_} step does not have")
            elif (value is None and key in optional) or (type(value) in types or (dict in types and isinstance(value, Table))):
                continue
            else:
                words = " or ".join(_WORDS[each] for each in types)
                self._mistakes.tell(table.line_of(key), f"step {id_}: {key}: expected {words}")
        if not isinstance(table.get("continue_on_error", False), bool):
            self._mistakes.tell(table.line_of("continue_on_error"), f"step {id_}: continue_on_error: expected true or false")

    def _check_values(self, table: Table, id_: str, type_: str, seen: set[str]) -> None:
        def refuse(key: str, words: str) -> None:
            self._mistakes.tell(table.line_of(key), f"step {id_}: {key}: {words}")

        # Values of the right type that cannot work; a wrong type was told by the check of the keys.
        timeout = table.get("timeout")
        if isinstance(timeout, int | float) and not (timeout > 0 and math.isfinite(timeout)):
            refuse("timeout", "expected a positive number of seconds")
        if type_ == "shell" and table.get("output_format") not in (None, "json"):
            refuse("output_format", "expected json")
        rounds = table.get("max_iterations")
        if isinstance(rounds, int) and rounds < 1:
            refuse("max_iterations", "expected a whole number of at least 1")
        condition = table.get("condition")
        if isinstance(condition, str) and not _CONDITION.fullmatch(condition):
            refuse("condition", "not one {{ … }}: it would be text, and always true")
        if type_ == "gate":
            self._check_gate(table, refuse)
        if type_ == "fan-in" and isinstance(table.get("wait_for"), list):
            for other in table["wait_for"]:
                if other == id_:
                    refuse("wait_for", "it waits for itself")
                elif not isinstance(other, str) or other not in seen:
                    refuse("wait_for", f"{other!r} is no step that stands before it")

    def _check_gate(self, table: Table, refuse: Any) -> None:
        on_reject = table.get("on_reject") or "abort"
        if on_reject not in _ON_REJECT:
            refuse("on_reject", f"expected one of {', '.join(_ON_REJECT)}")
        options = table.get("options")
        if options is None:
            return
        if not isinstance(options, list) or not options or not all(isinstance(each, str) and each for each in options):
            refuse("options", "expected a list of texts")
        elif on_reject != "skip" and not any(each.lower() in ("reject", "abort") for each in options):
            refuse("options", f"none of them is reject or abort, which on_reject {on_reject} waits for")
