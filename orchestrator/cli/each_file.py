"""The jobs file that `each` makes of a command line: each option is a key of it, so that a file can say all that is typed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.cli.each_words import ITEM_MARK, ItemForm, Placeholders, literal
from orchestrator.errors import UserError
from orchestrator.jobsfile.language.toml_values import toml_value
from orchestrator.workers.lazy_pattern import lazy_pattern

_OTHER_NAME = lazy_pattern(r"\{\{[ \t]*[A-Za-z_][^{}\n]*\}\}")
"""What looks like a placeholder, and is none of ours. To a command it is passed on, which may want it (`docker ps --format
{{.ID}}`). In a prompt it is refused: an agent that is told `{{ itm }}` is paid for nothing."""
_OURS = lazy_pattern(ITEM_MARK)


def command_keys(words: Sequence[str], meant: Placeholders, *, is_shell: bool, takes_item: bool) -> dict[str, Any]:
    """The keys of a job that runs `words` for each item: an argv, or a command line for a shell. Raises UserError.

    Without a placeholder the item is added at the end (`takes_item`); without words an item is a command line itself.
    """
    is_whole = not takes_item or any(meant.are_in(word) for word in words)
    if not is_shell:
        argv = [meant.argument(word) for word in words]
        return {"command": argv if is_whole else [*argv, meant.item()]}
    if not words:
        return {"shell": "{{ item | raw }}"}
    script = meant.script(" ".join(words))
    return {"shell": script if is_whole else f"{script} {meant.item()}"}


def agent_keys(agent: str, prompt: str, meant: Placeholders, *, model: str | None = None) -> dict[str, Any]:
    """The keys of a job that tells an agent of each item. Raises UserError, also for a prompt that is empty."""
    if not prompt.strip():
        raise UserError("the prompt is empty", "say with -p what the agent is to do with each line")
    given = {"--agent": agent, "--prompt": prompt} | ({"--model": model} if model is not None else {})
    if meant.mark is None:
        for option, text in given.items():
            _refuse_other_names(option, text)
    told = meant.text(prompt) + ("" if meant.are_in(prompt) else f"\n\n{meant.item(is_text=True)}")
    return {"agent": meant.text(agent), "prompt": told} | ({"model": meant.text(model)} if model is not None else {})


def _refuse_other_names(option: str, text: str) -> None:
    found = _OTHER_NAME.search(_OURS.sub("", text))
    if found is not None:
        raise UserError(
            f"{option}: {found[0]} is not a name that it knows", "{} or {{ item }} is the line; a jobs file can say all else"
        )


def run_text(name: str, form: ItemForm, keys: Mapping[str, Any]) -> str:
    """The TOML of a run of `each`, whose items are written beside it. Raises UserError for what TOML cannot hold.

    The list that it names is never read: it says what the items are.
    """
    # Lines, so many at once, or values that were made of them.
    if form.is_text:
        source: dict[str, Any] = {"lines": "items.txt"}
    elif form.is_short:
        source = {"lines": "items.txt", "batch": form.values}
    else:
        source = {"jsonl": "items.jsonl"}
    return _file(name, keys, toml_value(source))


def standing_alone(name: str, keys: Mapping[str, Any], values: Iterable[Any], *, slots: int | None, keep_going: bool) -> str:
    """The TOML of a run of `each` with all that it takes besides: its items, `-j` and `-k`. Raises UserError as `run_text`."""
    items = "".join(f"  {toml_value(_literally(value), 'line')},\n" for value in values)
    keys = {**keys, "continue_on_error": True} if keep_going else keys
    # For editors: `orchestrate schema -o jobs.schema.json` makes what the line names.
    return "#:schema ./jobs.schema.json\n" + _file(name, keys, f"[\n{items}]", slots=slots)


def _literally(value: Any) -> Any:
    """The value as templates give it: in a list of a jobs file each text is one."""
    if isinstance(value, str):
        return literal(value)
    if isinstance(value, Mapping):
        return {key: literal(text) for key, text in value.items()}
    return [literal(text) for text in value]


def _file(name: str, keys: Mapping[str, Any], items: str, *, slots: int | None = None) -> str:
    run = "" if slots is None else f"[run]\nslots = {slots}\n\n"
    lines = [f"{key} = {_argv(value) if key == 'command' else toml_value(value)}\n" for key, value in keys.items()]
    title = toml_value(os.path.basename(name) or "each")
    return f"name = {title}\n\n{run}[jobs.each]\nfor_each = {items}\n{''.join(lines)}"


def _argv(words: Sequence[str]) -> str:
    elements = "".join(f"  {toml_value(word)},\n" for word in words)
    return f"[\n{elements}]"
