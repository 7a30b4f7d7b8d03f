"""The jobs file that `each` makes of a command line. All that the user typed is literal, but for `{}` and `{{ item }}`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from orchestrator.errors import UserError
from orchestrator.workers.lazy_pattern import lazy_pattern

_PLACEHOLDER = lazy_pattern(r"\{\{[ \t]*item[ \t]*\}\}|\{\}")
_MEANT_FOR_A_TEMPLATE = lazy_pattern(r"\{(?=[{%#\r]|\Z)|\r")
"""A brace that a template would take for the beginning of a placeholder, a tag or a comment, also with the text behind it; and
the carriage return, which templates turn into a newline."""


_ITEMS = 'for_each = { lines = "items.txt" }\n'
"""Where a run of `each` has its list: the file itself is never read, for the lines of stdin are the items."""

_OTHER_NAME = lazy_pattern(r"\{\{[ \t]*[A-Za-z_][^{}\n]*\}\}")
"""What looks like a placeholder, and is none of ours. To a command it is passed on, which may want it (`docker ps --format
{{.ID}}`). In a prompt it is refused: an agent that is told `{{ itm }}` is paid for nothing."""


def jobs_text(words: Sequence[str]) -> str:
    """The TOML of a run of `words`, an argv, over items.txt. Raises UserError for an argument that TOML cannot hold."""
    has_placeholder = any(_PLACEHOLDER.search(word) for word in words)
    argv = [_template(word) for word in words]
    if not has_placeholder:
        argv.append("{{ item }}")
    elements = "".join(f"  {_quoted(word)},\n" for word in argv)
    name = _quoted(os.path.basename(words[0]) or "each")
    return f"name = {name}\n\n[jobs.each]\n{_ITEMS}command = [\n{elements}]\n"


def standing_alone(text: str, lines: Iterable[str], *, slots: int | None, keep_going: bool) -> str:
    """The jobs file `text` of a command line with all that the run takes besides: its items, `-j` and `-k`.

    Raises UserError for a line that TOML cannot hold.
    """
    items = "".join(f"  {_quoted(_MEANT_FOR_A_TEMPLATE.sub(_as_expression, line), 'line')},\n" for line in lines)
    text = text.replace(_ITEMS, f"for_each = [\n{items}]\n", 1)
    text += "continue_on_error = true\n" if keep_going else ""
    return text if slots is None else text.replace("[jobs.each]", f"[run]\nslots = {slots}\n\n[jobs.each]", 1)


def agent_jobs_text(
    agent: str, prompt: str, *, model: str | None, permissions: str | None, workspace: str | None, slots: int | None
) -> str:
    """The TOML of a run of an agent over items.txt, `slots` items at once.

    Raises UserError as `jobs_text` does, and for a prompt that is empty or has an unknown placeholder.
    """
    if not prompt.strip():
        raise UserError("the prompt is empty", "say with -p what the agent is to do with each line")
    _refuse_other_names("--agent", agent)
    _refuse_other_names("--prompt", prompt)
    _refuse_other_names("--model", model or "")
    told = _template(prompt) if _PLACEHOLDER.search(prompt) else f"{_template(prompt)}\n\n{{{{ item }}}}"
    keys = {"agent": _template(agent), "prompt": told}
    keys |= {"model": _template(model)} if model is not None else {}
    keys |= {"permissions": permissions} if permissions is not None else {}
    keys |= {"workspace": workspace} if workspace is not None else {}
    lines = [f"{key} = {_quoted(value)}\n" for key, value in keys.items()]
    lines += [f"max_concurrency = {slots}\n"] if slots else []
    return f"name = {_quoted(agent)}\n\n[jobs.each]\n{_ITEMS}{''.join(lines)}"


def _refuse_other_names(option: str, text: str) -> None:
    found = _OTHER_NAME.search(_PLACEHOLDER.sub("", text))
    if found is not None:
        raise UserError(
            f"{option}: {found[0]} is not a name that it knows", "{} or {{ item }} is the line; a jobs file can say all else"
        )


def _template(word: str) -> str:
    literals = (_MEANT_FOR_A_TEMPLATE.sub(_as_expression, literal) for literal in _PLACEHOLDER.split(word))
    return "{{ item }}".join(literals)


def _as_expression(found: re.Match[str]) -> str:
    return "{{ '{' }}" if found[0] == "{" else "{{ '\\r' }}"


def _quoted(text: str, what: str = "argument") -> str:
    """A TOML basic string. Control characters are escaped: --print shows the text on a terminal, which would obey them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"the {what} {text!r} is not UTF-8", "a jobs file cannot hold it; read it from a file instead") from None
    return '"' + "".join(_ESCAPES.get(each) or (each if each.isprintable() else _by_number(each)) for each in text) + '"'


def _by_number(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
