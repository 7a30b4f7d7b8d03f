"""Makes the pages of docs/reference that the code knows best: `python docs/reference/make.py` writes them.

Promise: each page is made of the code alone, and of `key_examples.toml`. A test makes them again, and fails where they differ.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import runpy
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from orchestrator.attempts.context import JOB_FIELDS, NAMES
from orchestrator.cli.class_advice import advice_on
from orchestrator.cli.group import orchestrate
from orchestrator.jobsfile import agent_keys, keys
from orchestrator.jobsfile.json_schema import jobs_file_schema
from orchestrator.jobsfile.language.path_filters import PATH_FILTERS
from orchestrator.jobsfile.language.sandbox import filter_names
from orchestrator.reading.item_result import RESULT_FIELDS
from orchestrator.workers.protocol import AttemptClass

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER.parents[1] / "orchestrator"

TABLES = ("FileTable", "RunTable", "InputTable", "PoolTable", "JobTable", "SourceTable", "RepeatTable", "RetryTable")
"""In this order; tables that are not named here come behind them."""

GROUPS = (
    ("What is done", frozenset(keys.ACTIONS)),
    ("How an agent works", keys.AGENT_KEYS | {"check", "workspace", "artifacts"}),
    ("What bounds an attempt", frozenset(keys.LIMIT_KEYS)),
    ("The same work once", frozenset(keys.TOKEN_KEYS) | {"token"}),
    ("How a gate asks", keys.GATE_KEYS),
)
"""Of the keys of a job: the others are about items, their order, and how they run."""

SINCE: dict[str, str] = {}
"""`TABLE.KEY` -> the version that brought it; all others were there in 0.1."""

_MADE = "<!-- Made by docs/reference/make.py of the code. Change it there, and run that. -->\n\n"


def page(name: str) -> str:
    """The text of the file `name` of `PAGES`."""
    return _MADE + PAGES[name]()


def examples() -> dict[str, dict[str, str]]:
    """Table -> key -> a few lines of TOML that show the key."""
    shown: dict[str, dict[str, str]] = tomllib.loads((FOLDER / "key_examples.toml").read_text("utf-8"))
    return shown


def keys_page() -> str:
    """Every key of a jobs file."""
    schema = jobs_file_schema()
    tables = {"FileTable": {"description": schema["description"], "properties": schema["properties"]}, **schema["$defs"]}
    parts = [
        "# Every key of a jobs file\n",
        "A jobs file is TOML. Each key is here with its type, its default and an example; without another word a key has been",
        "there since 0.1. What keys do together: [What a jobs file can say](../jobs-files.md). Editors show the same while you",
        "write: `orchestrate schema`.\n",
    ]
    for name in sorted(tables, key=lambda table: (TABLES.index(table) if table in TABLES else len(TABLES), table)):
        properties = tables[name]["properties"]
        parts += [f"## {_title(name)}\n", f"{tables[name]['description']}\n"]
        for heading, group in _grouped(name, properties):
            parts += [f"### {heading}\n"] if heading else []
            for key in group:
                parts += [f"{'####' if heading else '###'} `{key}`\n", *_key(name, key, properties[key])]
    return "\n".join(parts)


def _grouped(table: str, properties: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    if table != "JobTable":
        yield "", list(properties)
        return
    left = list(properties)
    for heading, group in GROUPS:
        yield heading, [key for key in left if key in group]
        left = [key for key in left if key not in group]
    yield "Items, order, failures, and how a command runs", left


def _title(table: str) -> str:
    known = {"FileTable": "The file", "RunTable": "`[run]`", "InputTable": "`[inputs.NAME]`", "PoolTable": "`[pools.NAME]`"}
    known |= {"JobTable": "`[jobs.ID]` and `[defaults]`"}
    if table in known:
        return known[table]
    described = inspect.getdoc(getattr(keys, table, None) or getattr(agent_keys, table)) or ""
    shown = re.match(r"`([a-z_]+) = ", described)
    return f"`{shown[1]} = {{ … }}`" if shown else table


def _key(table: str, key: str, about: dict[str, Any]) -> list[str]:
    words, _, type_words = about["description"].rpartition("\n\n")
    lines = [f"{words}\n", f"- Type: {type_words[:1].lower()}{type_words[1:].removesuffix('.')}"]
    if "default" in about:
        lines.append(f"- Default: {_default(about['default'], type_words)}")
    if f"{table}.{key}" in SINCE:
        lines.append(f"- Since {SINCE[f'{table}.{key}']}")
    return [*lines, "", f"```toml\n{examples()[table][key].strip()}\n```\n"]


def _default(value: object, type_words: str) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
        case 0 | 0.0 if "no limit" in type_words:
            return "no limit"
        case int() | float() if type_words.startswith("A duration"):
            return f"{value:g} seconds"
        case int() if type_words.startswith("A size"):
            return f"{value / 2**20:g} MiB"
        case _:
            return f"`{value}`"


def templates_page() -> str:
    """Every name, field and filter of templates."""
    fields = ", ".join(f"`{field}`" for field in RESULT_FIELDS)
    plain = ", ".join(f"`{name}`" for name in filter_names() if name not in PATH_FILTERS)
    ours = ((f"`{name}`", (inspect.getdoc(each) or "").partition("\n\n")[0]) for name, each in PATH_FILTERS.items())
    parts = [
        "# Templates: every name, field and filter\n",
        "A template is [Jinja2](https://jinja.palletsprojects.com/templates/), sandboxed and strict: a name that is not there is",
        "an error. What values become in a command: [What a jobs file can say](../jobs-files.md#values-arrive-as-they-are).\n",
        "## Names\n",
        *_table("name", ((f"`{name}`", f"{words}{_hidden(name)}") for name, words in NAMES.items())),
        "## Fields of a job\n",
        *_table("`jobs.ID.…`", ((f"`{name}`", words) for name, words in JOB_FIELDS.items())),
        "## Fields of a result\n",
        f"Of `jobs.ID.results`, and of `parent`: {fields}. They mean what `orchestrate results --json` means by them.\n",
        "## Filters\n",
        *_table("filter", ours),
        "`tojson` gives plain JSON, `raw` takes a value out of the quoting of `shell` and `check`. Jinja2's own are there, too:",
        f"{plain}.\n",
        f"Functions: {', '.join(f'`{name}`' for name in sorted(keys.TEMPLATE_FUNCTIONS))}.\n",
    ]
    return "\n".join(parts)


def _hidden(name: str) -> str:
    """The keys of which templates do not know the name."""
    found = [f"`{key}`" for key, names in sorted(keys.HIDDEN_NAMES.items()) if name in names]
    return f" Not in {', '.join(found)}." if found else ""


def _table(first: str, rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"| {first} | |", "|---|---|", *(f"| {name} | {_cell(words)} |" for name, words in rows), ""]


def commands_page() -> str:
    """Every command, with its options."""
    parts = [
        "# Every command\n",
        "`orchestrate COMMAND --help` prints the same. RUN is the id of a run, a beginning or an end of it that no other run",
        "has, a name, or a jobs file (of both the newest run). Left out, or with `--last`, it is the newest run; what changes",
        "something takes the only run that can be meant, or says which there are. ITEM is what the output calls it: `port:3`,",
        "`port:a.py` by its label, a label alone where one item has it, or a glob. Each command takes `--home DIR`: the state",
        "folder. [Exit codes](exit-codes.md) are the same for all of them.\n",
    ]
    for name, command in orchestrate.every_command():
        parts += _command(command, name)
    return "\n".join(parts)


def _command(command: click.Command, name: str) -> list[str]:
    context = click.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"## {name}\n", f"```\n{name} {usage}\n```\n", f"{inspect.cleandoc(command.help or '')}\n"]
    records = [
        record
        for parameter in command.get_params(context)
        if not {"--home", "--help"} & {*parameter.opts} and (record := parameter.get_help_record(context)) is not None
    ]
    if records:
        lines += ["| option | |", "|---|---|", *(f"| `{_cell(option)}` | {_cell(words)} |" for option, words in records), ""]
    return lines


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def classes_page() -> str:
    """What an attempt can come to."""
    parts = [
        "# What an attempt can come to\n",
        "Each attempt has a class (`class` in `results`). Only `ok` is a success. `orchestrate why RUN ITEM` says in words what",
        "the class means for that item.\n",
        "| class | what it means, and what to do |",
        "|---|---|",
    ]
    said = _strings_under(AttemptClass)
    for each in AttemptClass:
        meaning = advice_on(each.value, "the agent") or said[each.name].partition(" Given by")[0]
        parts.append(f"| `{each.value}` | {_cell(meaning[:1].upper() + meaning[1:].removesuffix('.'))} |")
    return "\n".join([*parts, ""])


def _strings_under(struct: type) -> dict[str, str]:
    """Name -> the string under it, of the names that a class sets."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(struct)).body if isinstance(node, ast.ClassDef))
    said = {}
    for node, below in itertools.pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            said[ast.unparse(node.targets[0])] = re.sub(r"\s+", " ", str(below.value.value))
    return said


def errors_page() -> str:
    """Every error that says what to do."""
    parts = [
        "# Every error that a command can end with\n",
        "An error of yours has two lines: what is wrong and where, and what to do. The exit code is 2 unless another is named",
        "([exit codes](exit-codes.md)). `…` stands for what differs. Mistakes of a jobs file are told all at once by",
        "`orchestrate check`, each with its place; they are not listed here. What becomes of an item: [classes](classes.md).\n",
    ]
    trees = [ast.parse(path.read_text("utf-8")) for path in sorted(SOURCES.rglob("*.py"))]
    names = _names_of_errors(trees)
    errors = {error for tree in trees for error in _errors_of(tree, names)}
    # By the whole of each: a set has another order each time, and the page would differ whoever makes it.
    found = sorted(errors, key=lambda each: (each[0].lower(), *each))
    parts += [f"- {_code(message)}{f'<br>{_code(hint)}' if hint else ''}" for message, hint in found]
    return "\n".join([*parts, ""])


def _names_of_errors(trees: list[ast.Module]) -> set[str]:
    """`UserError` and all that stands on it, but for the mistakes of a jobs file."""
    bases = {
        node.name: {ast.unparse(base) for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    names = {"UserError"}
    while more := {name for name, of in bases.items() if of & names and name not in names}:
        names |= more
    return names - {"JobsFileError"}


def _errors_of(tree: ast.Module, names: set[str]) -> Iterator[tuple[str, str]]:
    """What each such error of a file says: message and hint."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names and node.args:
            message, hint = [*(_said(argument) for argument in node.args[:2]), ""][:2]
            if message.strip("… :"):
                yield message, hint if hint.strip("… ") else ""


def _said(node: ast.expr) -> str:
    """The text of a literal, `…` in place of each value that is put in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_said(value) for value in values)
        case ast.BinOp(left=left, right=right):
            return _said(left) + _said(right)
        case _:
            return "…"


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    space = " " if fence == "``" else ""
    return fence + space + re.sub(r"\s+", " ", text) + space + fence


PAGES: dict[str, Callable[[], str]] = {
    "jobs-file.md": keys_page,
    "commands.md": commands_page,
    "classes.md": classes_page,
    "errors.md": errors_page,
    "templates.md": templates_page,
}
"""File name -> what makes the page."""


if __name__ == "__main__":
    for file_name in PAGES:
        (FOLDER / file_name).write_text(page(file_name), "utf-8")
    runpy.run_path(str(FOLDER / "man_page.py"), run_name="__main__")
