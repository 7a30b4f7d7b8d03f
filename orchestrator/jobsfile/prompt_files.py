"""Prompts that stand in files of their own: each is a template, as `prompt` is, unless the job says otherwise."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.template import Template, TemplateError

NO_TEMPLATE = 'a file that is no template is { path = "…", template = false }'
"""What to do about braces that others are to read."""


class PromptFileError(Exception):
    """A prompt file cannot be used; one line in words."""


def prompt_in(path: str, read: Callable[[str], bytes], *, is_template: bool) -> Template:
    """What the file at `path` says, as a template; or as it is. Raises PromptFileError. `read` raises OSError."""
    try:
        text = read(path).decode().removeprefix("\ufeff")
    except OSError as error:
        raise PromptFileError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{path}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise PromptFileError("a path with a NUL byte names no file") from error
    # An agent that is told nothing would be paid for nothing.
    if not text.strip():
        raise PromptFileError(f"{path}: expected what to tell the agent, and the file is empty")
    try:
        return compile_template(text, "text") if is_template else Template(text, "text")
    except TemplateError as error:
        raise PromptFileError(f"{path}: {error}; {NO_TEMPLATE}") from error
