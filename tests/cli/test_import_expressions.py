"""What Spec Kit's expressions become as Jinja2, and that the Jinja2 gives the same values."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.cli.importing.code import NULL, Code
from orchestrator.cli.importing.expressions import ExpressionError, Path, parse_expression, split_template
from orchestrator.cli.importing.printing import Printer
from orchestrator.cli.importing.shell_text import script_of
from orchestrator.jobsfile.language.compiler import compile_template

VALUES = {"word": "a b", "count": 7, "off": False, "nothing": None, "rows": [{"id": "x"}, {"id": "y"}]}
KINDS: dict[str, Any] = {"word": "text", "count": "number", "off": "boolean", "rows": "list"}


class Inputs:
    """The names of these tests: inputs alone; nothing else is there."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def code_of(self, path: Path) -> Code:
        match path.parts:
            case ("inputs", str(name)) if name in VALUES:
                return Code(f"inputs.{name}", KINDS.get(name, "unknown"), VALUES[name] is None)
        return NULL

    def parsed(self, path: Path) -> Code | None:
        return Code(f"inputs.{path.parts[1]}") if path.parts[1] == "rows" else None

    def lost(self, words: str) -> None:
        self.told.append(words)


def value_of(text: str) -> Any:
    code = Printer(Inputs()).value(text)
    return compile_template(f"{{{{ {code.text} }}}}", "value").render({"inputs": VALUES})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("inputs.word", "a b"),
        ("inputs.count > 5", True),
        ("'10' > inputs.count", True),  # text that looks like a number is ordered as one
        ("inputs.nothing < 5", False),
        ("inputs.word < 5 or inputs.word >= 5", False),  # neither less nor more than a number
        ("inputs.word | map('id')", []),
        ("inputs.count == 7 and inputs.word != 'x'", True),
        ("inputs.off or inputs.nothing", False),
        ("not inputs.off and not inputs.nothing", True),
        ("(inputs.off or inputs.count) and inputs.word", True),
        ("'b' in inputs.word", True),
        ("'b' not in inputs.nothing", True),
        ("inputs.word | contains('a')", True),
        ("inputs.nothing | default('d')", "d"),
        ("inputs.off | default(true)", False),  # only null and empty text are stood in for
        ("inputs.count | default(1)", 7),
        ("inputs.gone | default('d')", "d"),
        ("inputs.rows | map('id') | join('-')", "x-y"),
        ("inputs.rows | from_json | map('id')", ["x", "y"]),
        ("[1, -2.5, 'or', null, none, True]", [1, -2.5, "or", None, None, True]),
        ("'back\\slash and }} in text'", "back\\slash and }} in text"),
        ("inputs.word == 'read and write | or'", False),
    ],
)
def test_an_expression_keeps_its_value(expression: str, value: Any) -> None:
    assert value_of(f"{{{{ {expression} }}}}") == value


def test_a_text_keeps_its_placeholders_and_loses_null() -> None:
    names = Inputs()
    text, _ = Printer(names).text("a {{ inputs.word }}{{ inputs.nothing }} {{ unclosed {% x %} {# y #}")
    assert compile_template(text, "text").render({"inputs": VALUES}) == "a a b {{ unclosed {% x %} {# y #}"
    assert names.told == []


def test_what_cannot_be_read_is_null_and_told() -> None:
    names = Inputs()
    assert Printer(names).text("<{{ inputs.count + 1 }}>")[0] == "<>"
    assert names.told == ["{{ inputs.count + 1 }}: cannot be read from '+ 1' on"]


@pytest.mark.parametrize(
    "expression",
    ["", "a ==", "a == b == c", "a |", "a | nope", "a | join", "a | from_json('x')", "(a", "[a b]", "not", "'it''s'"],
)
def test_what_is_no_expression_is_refused_in_words(expression: str) -> None:
    with pytest.raises(ExpressionError, match=r"^\S"):
        parse_expression(expression)


@pytest.mark.parametrize(
    "expression", ["(" * 2000, "not " * 2000 + "a", "a" + " or a" * 2000, "a" + " | default" * 900, "9" * 5000]
)
def test_no_expression_is_too_deep_for_us(expression: str) -> None:
    try:
        tree = parse_expression(expression)
    except ExpressionError:
        return
    assert Printer(Inputs()).code(tree).text


def test_quotes_hide_the_end_of_a_placeholder() -> None:
    assert split_template("{{ x | default('}}') }}!")[1] == "!"


@pytest.mark.parametrize(
    ("script", "made"),
    [
        ("echo {{ inputs.word }}", "echo {{ inputs.word }}"),
        ('echo "{{ inputs.word }}"', "echo {{ inputs.word }}"),
        ('echo "a {{ inputs.word }} b"', 'echo "a "{{ inputs.word }}" b"'),
        ("echo 'a {{ inputs.word }}'", "echo 'a '{{ inputs.word }}"),
        ('echo "{{ inputs.word }}{{ inputs.count }}"', "echo {{ inputs.word }}{{ inputs.count }}"),
        ('echo "\\"{{ inputs.word }}\\""', 'echo "\\""{{ inputs.word }}"\\""'),
        ('x="$(cat "{{ inputs.word }}")"', 'x="$(cat {{ inputs.word }})"'),
        ("echo ${#HOME} {{ inputs.count }}", "echo ${% raw %}{#{% endraw %}HOME} {{ inputs.count }}"),
        ("echo x{{ inputs.gone }}", "echo x''"),
    ],
)
def test_a_placeholder_comes_out_of_its_quotes(script: str, made: str) -> None:
    told: list[str] = []
    assert script_of(Printer(Inputs()).pieces(script), told.append) == made
    compile_template(made, "shell")
    assert told == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("{{ inputs.word }}", "the whole command is a value"),
        ("cat <<EOF\n{{ inputs.word }}\nEOF\n", "here-document"),
        ("true # {{ inputs.word }}", "comment"),
        ("echo `echo {{ inputs.word }}`", "inside `…`"),
        ("echo a\\{{ inputs.word }}", "right after a backslash"),
        ('echo "${x:-{{ inputs.word }}}"', "${…}"),
    ],
)
def test_where_no_quotes_hold_a_value_stays_unquoted_and_is_told(script: str, words: str) -> None:
    told: list[str] = []
    made = script_of(Printer(Inputs()).pieces(script), told.append)
    assert "| raw }}" in made
    compile_template(made, "shell")
    assert len(told) == 1
    assert words in told[0]
