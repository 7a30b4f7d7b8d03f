"""A value of a table becomes a template, or a mistake that is told: what the compilers of all keys have in common."""

from __future__ import annotations

from typing import Any

from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.suggestions import describe, did_you_mean
from orchestrator.jobsfile.language.template import TemplateError, TemplateKind

WRONG = object()
"""Stands for a value that was told as a mistake: the key is there, so no default and no other complaint takes its place."""


def compile_text(source: str, kind: TemplateKind, place: Place, problems: Problems) -> Any:
    """The compiled template, or WRONG."""
    try:
        return compile_template(source, kind)
    except TemplateError as error:
        problems.tell(place, str(error))
    return WRONG


def compile_environment(table: dict[str, Any], place: Place, problems: Problems) -> Any:
    """Variable -> template, or WRONG. Numbers and booleans are taken as the strings that they are in TOML."""
    environment: dict[str, Any] = {}
    for name, value in table.items():
        if not name or "=" in name or "\0" in name:
            problems.tell((*place, name), "not a name that an environment variable can have")
        match value:
            # As TOML writes it: Python's `True` is no word that a shell script asks for.
            case bool():
                text = str(value).lower()
            case int() | float():
                text = str(value)
            case str():
                text = value
            case _:
                problems.tell((*place, name), f"expected a string, a number or a boolean, got {describe(value)}")
                return WRONG
        environment[name] = compile_text(text, "text", (*place, name), problems)
    # One wrong variable makes the whole of it wrong: half an environment is none that was meant.
    return WRONG if WRONG in environment.values() else environment


def compile_written(value: str, kind: TemplateKind, what: str, place: Place, problems: Problems) -> Any:
    """The template of what must not be empty, or WRONG."""
    if not value.strip():
        problems.tell(place, f"expected {what}, got an empty string")
        return WRONG
    return compile_text(value, kind, place, problems)


def compile_list(values: list[str], place: Place, problems: Problems) -> Any:
    """A template each, of which a lone placeholder keeps its type; or WRONG."""
    compiled = tuple(compile_text(value, "value", (*place, index), problems) for index, value in enumerate(values))
    return WRONG if WRONG in compiled else compiled


def compile_element(value: Any, place: Place, problems: Problems) -> Any:
    if not isinstance(value, str):
        return value
    template = compile_text(value, "value", place, problems)
    return value if template is not WRONG and template.is_static else template


def compile_condition(value: str, words: str, place: Place, problems: Problems, *, words_meant: tuple[str, ...] = ()) -> Any:
    """The template of what is true or false, or WRONG. `words`: what may stand here."""
    template = compile_text(value.strip(), "value", place, problems)
    if template is WRONG:
        return WRONG
    if template.is_static:
        problems.tell(place, f"expected {words}, got {describe(value)}{did_you_mean(value, words_meant)}")
        return WRONG
    if _has_text_around(value.strip()):
        # It would render to a text such as "5 > 3", and each item would fail for it.
        problems.tell(place, 'text around a placeholder is neither true nor false: put all of it inside, as in "{{ item > 3 }}"')
        return WRONG
    return template


def _has_text_around(text: str) -> bool:
    """Whether anything stands before the first placeholder or behind the last, or there are two of them."""
    if not text.startswith(("{{", "{%", "{#")) or not text.endswith(("}}", "%}", "#}")):
        return True
    second = text.find("{{", text.find("}}", 2) + 2) if "}}" in text[2:-2] else -1
    return text.startswith("{{") and text.endswith("}}") and 0 <= second < len(text) - 3
