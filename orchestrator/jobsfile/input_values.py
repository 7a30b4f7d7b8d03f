"""The values of a run's inputs: from the command line, a file, the environment, the defaults, or a person at the terminal.

The first of these that has a value for an input gives it. All that is wrong is told together, each mistake with its source;
somebody is asked only if nothing else is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.inputs import INPUT_WORDS, complaints, variable_of
from orchestrator.jobsfile.language.decode import plain
from orchestrator.jobsfile.language.problems import Problems
from orchestrator.jobsfile.language.suggestions import did_you_mean, shown
from orchestrator.jobsfile.language.toml_text import parse_toml, read_text
from orchestrator.jobsfile.model import InputSpec, InputType
from orchestrator.workers.foreign import ForeignBytesError, decode_json
from orchestrator.workers.lazy_pattern import lazy_pattern

Ask = Callable[[str, InputSpec, str], str | None]
"""Asks a person for the input of this name. The text: what is wrong with the last answer, "" at first. None: no answer."""

_INTEGER = lazy_pattern(r"[+-]?[0-9]{1,18}")
_NUMBER = lazy_pattern(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def resolve_inputs(
    specs: Mapping[str, InputSpec],
    pairs: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
    file: str | None = None,
    kept: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    ask: Ask | None = None,
) -> dict[str, Any]:
    """Values of all inputs; None of one that has none. The last of `pairs` (`KEY=VALUE`) wins, then `values` (typed), then the
    JSON or TOML `file`, then what a run that is updated has `kept`, then `environment` (`variable_of`), then the default; `ask`
    is for those that are required.

    Of a secret input the value is a mark, and this process keeps what it stands for (`secret_inputs`).

    Raises JobsFileError that has every undeclared, ill-typed, missing or not allowed one; UserError for an unreadable file.
    """
    known = _Known(specs)
    known.take_pairs(pairs)
    known.take_values(values or {})
    if file is not None:
        known.take_file(file)
    known.take_kept(kept or {})
    known.take_environment(environment or {})
    if ask is not None and not known.problems:
        known.ask_for_missing(ask)
    found = known.all_values()
    if any(spec.is_secret for spec in specs.values()):
        from orchestrator.jobsfile.secret_inputs import with_secrets_kept

        found = with_secrets_kept(found, specs)
    return found


class _Known:
    """What is known of the inputs so far. Sources are taken in from the strongest to the weakest."""

    def __init__(self, specs: Mapping[str, InputSpec]) -> None:
        self._specs = specs
        self._values: dict[str, Any] = {}
        self.problems: list[str] = []

    def take_pairs(self, pairs: Sequence[str]) -> None:
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                self.problems.append(f"-i {shown(pair)}: expected KEY=VALUE")
            elif name not in self._specs:
                self.problems.append(f"-i {shown(name)}: no such input{did_you_mean(name, self._specs)}")
            elif self._specs[name].is_secret and text.startswith("@"):
                self._take_secret_file(name, text[1:])
            else:
                self._take_text(name, text, f"-i {name}: ")

    def _take_secret_file(self, name: str, path: str) -> None:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (OSError, ValueError) as error:
            self._values[name] = None
            self.problems.append(f"-i {name}=@{path}: {getattr(error, 'strerror', None) or 'no UTF-8'}")
        else:
            self._take_text(name, text.removesuffix("\n"), f"-i {name}=@{path}: ")

    def take_values(self, values: Mapping[str, Any]) -> None:
        if not values:
            return
        import json  # Of the library alone.

        problems = Problems("inputs", "")
        table = {}
        for name, value in values.items():
            try:
                table[name] = decode_json(json.dumps(value).encode())  # as the state will keep it: a tuple is a list
            except (TypeError, ValueError, RecursionError, ForeignBytesError):
                problems.tell((name,), f"expected {self._expected(name)}, got {type(value).__name__}")
                self._values[name] = None
        self._take_table(table, problems)

    def take_file(self, path: str) -> None:
        text = read_text(path)
        is_json = path.endswith(".json")
        table = _parse_json_table(text, path) if is_json else parse_toml(text, path)
        self._take_table(table, Problems(path, "" if is_json else text))

    def _take_table(self, table: dict[str, Any], problems: Problems) -> None:
        for name, value in plain(table, (), problems).items():
            if name not in self._specs:
                problems.tell((name,), f"no such input{did_you_mean(name, self._specs)}")
                continue
            if table[name] is None:
                problems.tell((name,), f"expected {INPUT_WORDS[self._specs[name].type]}, got null")
            elif value is not None:
                for complaint in self._complaints(name, value):
                    problems.tell((name,), complaint)
            self._values.setdefault(name, value)
        self.problems += problems.lines()

    def take_kept(self, kept: Mapping[str, Any]) -> None:
        for name, spec in self._specs.items():
            value = kept.get(name)
            if name not in self._values and value is not None and not spec.is_secret:
                self._values[name] = value
                self.problems += [
                    f"-i {name}=…: the value that the run has does not fit any more: {complaint}"
                    for complaint in complaints(value, spec)
                ]

    def take_environment(self, environment: Mapping[str, str]) -> None:
        for name in self._specs:
            variable = variable_of(name)
            if name not in self._values and variable in environment:
                self._take_text(name, environment[variable], f"{variable}: ")

    def ask_for_missing(self, ask: Ask) -> None:
        for name in self._missing():
            complaint = ""
            while (text := ask(name, self._specs[name], complaint)) is not None:
                self._take_text(name, text, "")
                if not self.problems:
                    break
                complaint = "; ".join(self.problems)
                self.problems.clear()
                del self._values[name]

    def all_values(self) -> dict[str, Any]:
        for name in self._missing():
            description = self._specs[name].description
            value = f"@FILE or {variable_of(name)}" if self._specs[name].is_secret else "…"
            self.problems.append(f"-i {name}={value}: required{f' ({description})' if description else ''}")
        if self.problems:
            raise JobsFileError("inputs", [" ".join(problem.split()) for problem in self.problems])
        return {name: self._values.get(name, spec.default) for name, spec in self._specs.items()}

    def _complaints(self, name: str, value: Any) -> list[str]:
        spec = self._specs[name]
        if not spec.is_secret:
            return complaints(value, spec)
        from orchestrator.jobsfile.secret_inputs import mistake_of_secret

        return list(filter(None, [mistake_of_secret(value)]))

    def _expected(self, name: str) -> str:
        return INPUT_WORDS[self._specs[name].type] if name in self._specs else "a value that JSON knows"

    def _missing(self) -> list[str]:
        return [name for name, spec in self._specs.items() if spec.required and name not in self._values]

    def _take_text(self, name: str, text: str, source: str) -> None:
        """A wrong value is kept too: it is told as wrong, not as missing."""
        spec = self._specs[name]
        try:
            self._values[name] = _parse(text, spec.type)
        except ValueError:
            self._values[name] = None
            self.problems.append(f"{source}expected {INPUT_WORDS[spec.type]}, got {shown(text)}")
        else:
            self.problems += [f"{source}{complaint}" for complaint in self._complaints(name, self._values[name])]


def _parse_json_table(text: str, path: str) -> dict[str, Any]:
    try:
        table = _parse_json(text)
    except ValueError as error:
        raise JobsFileError(path, [f"{path}: {error}"]) from None
    if not isinstance(table, dict):
        raise JobsFileError(path, [f'{path}: expected an object such as {{"INPUT": VALUE}}'])
    return table


def _parse(text: str, kind: InputType) -> Any:
    """The value that a person's `text` means. Raises ValueError."""
    match kind:
        case "string":
            return text
        # White space around a value is nothing that somebody meant, except in a string.
        case "boolean" if text.strip().lower() in _BOOLEANS:
            return _BOOLEANS[text.strip().lower()]
        case "integer" | "number" if _INTEGER.fullmatch(text.strip()):
            return int(text)
        case "number" if _NUMBER.fullmatch(text.strip()) and math.isfinite(float(text)):
            return float(text)
        # A list is JSON if it looks so; else what is between the commas.
        case "list" if text.lstrip().startswith("["):
            value = _parse_json(text)
            if isinstance(value, list):
                return value
        case "list":
            return [part.strip() for part in text.split(",")] if text.strip() else []
    raise ValueError(text)


def _parse_json(text: str) -> Any:
    """Raises ValueError."""
    try:
        return decode_json(text.encode())
    except ForeignBytesError as error:
        raise ValueError(str(error)) from None
