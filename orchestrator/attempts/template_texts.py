"""One template of an item, rendered to what a worker can take; everything that is wrong with it is told as `ItemRefused`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.jobsfile.language.template import RenderError, Template
from orchestrator.jobsfile.language.values import text_of
from orchestrator.workers.byte_text import bytes_of_text

ARGUMENT_BYTES = 131_071
"""The largest single argument, or NAME=value of the environment, that Linux takes."""


class ItemRefused(Exception):
    """This item cannot run: its template is wrong for it, or a value does not fit. One line in words."""


def value_of_template(template: Template, context: Mapping[str, Any], key: str) -> Any:
    """The value of the template of `key`: plain data. Raises ItemRefused."""
    try:
        return template.render(context)
    except RenderError as error:
        raise ItemRefused(f"{key}: {error}") from error


def rendered_text(template: Template, context: Mapping[str, Any], key: str) -> str:
    """The value of the template of `key`, as text. Raises ItemRefused."""
    value = value_of_template(template, context, key)
    try:
        return text_of(value)
    except ValueError as error:
        raise ItemRefused(f"{key}: {error}") from error


def size_in_bytes(text: str, what: str) -> int:
    """Bytes that `text` stands for. Raises ItemRefused for half a character, which stands for none."""
    if text.isascii():
        return len(text)
    try:
        return len(bytes_of_text(text))
    except UnicodeEncodeError as error:
        raise ItemRefused(f"{what} has half a character at {error.start}") from error


def refuse_nul(text: str, what: str) -> None:
    """Raise ItemRefused for text that no argument and no variable can carry."""
    if "\0" in text:
        raise ItemRefused(f"{what} holds a NUL byte; pass it by `stdin`")


def rendered_arguments(templates: tuple[Template, ...], context: Mapping[str, Any], key: str) -> list[str]:
    """An argument each; a lone placeholder that gives a list becomes several. Raises ItemRefused."""
    arguments: list[str] = []
    for template in templates:
        # Most arguments are static: there is nothing to render.
        value = template.source if template.is_static else value_of_template(template, context, key)
        for each in value if type(value) is list else (value,):
            try:
                text = each if type(each) is str else text_of(each)
            except ValueError as error:
                raise ItemRefused(f"{key}: argument {len(arguments)}: {error}") from error
            # Mostly that is plain, and need not be told where it stands.
            if len(text) > ARGUMENT_BYTES or not text.isascii() or "\0" in text:
                check_argument(text, f"argument {len(arguments)}")
            arguments.append(text)
    return arguments


def check_argument(text: str, what: str, instead: str = "pass it by `stdin`") -> None:
    """Raise ItemRefused for text that the kernel does not take as an argument. `instead`: what the user can do."""
    refuse_nul(text, what)
    size = size_in_bytes(text, what)
    if size > ARGUMENT_BYTES:
        raise ItemRefused(f"{what} is {size} bytes; the kernel takes at most {ARGUMENT_BYTES}: {instead}")
