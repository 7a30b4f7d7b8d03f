"""Real shells read what shell templates give: every value arrives, and none becomes syntax."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from drivers.sweeps import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.template import Template, TemplateError

SHELLS = [[found, *options] for name, *options in (["sh"], ["bash", "--posix"]) if (found := shutil.which(name))]

PIECES = [
    "'",
    '"',
    "`",
    "$(",
    "`id`",
    "\\",
    "\n",
    "\r",
    "\t",
    " ",
    "-",
    "-n",
    "é",
    "漢",
    "\U0001f600",
    "*",
    "~",
    "#",
    ";",
    "a",
    "%s",
    "\x01",
    "\x7f",
    "\x81",
]
VALUES = st.lists(
    st.sampled_from(PIECES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), max_size=8
).map("".join)

ARGUMENT = compile_template("printf '%s\\0' {{ item }}\n", "shell")
WORDS = compile_template("printf '%s\\0' {{ item }} end\n", "shell")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@given(values=st.lists(VALUES, min_size=1, max_size=40))
@examples(25, HealthCheck.function_scoped_fixture)
def test_every_text_arrives_byte_for_byte(shell: list[str], values: list[str]) -> None:
    script = "".join(ARGUMENT.render({"item": value}) for value in values) + WORDS.render({"item": values})
    ended = subprocess.run([*shell, "-s"], input=script.encode(), capture_output=True, timeout=60, check=True)
    assert ended.stdout.split(b"\0")[:-1] == [value.encode() for value in [*values, *values, "end"]]


CANARIES = [
    "'; : >canary; '",
    "\n: >canary\n",
    "$(: >canary)",
    "`: >canary`",
    '"; : >canary; "',
    "\\'; : >canary; \\'",
    ") : >canary; (",
    "}; : >canary; {",
    "\nE\n: >canary\n",
    "a)) ; : >canary; ((",
    "' ; : >canary #",
]
"""Each runs `: >canary` if its text becomes syntax somewhere."""

FRAGMENTS = [
    *("'", '"', "`", "$(", ")", "(", "${x:-", "}", "$((", "))", "#", "\n", " ", "\\", "$", ";", "|", "&&", "<", "=", "$'", "~"),
    *(
        "\\'",
        '\\"',
        "\\\n",
        "<<E\n",
        "<<-E\n",
        "<<'E'\n",
        "\nE\n",
        "E",
        "case a in a)",
        "case a in (a)",
        ";;",
        " esac",
        " # ",
        "<<<",
    ),
    *("echo ", "a", ": ", "if :; then ", "\nfi\n", "{ ", ";}", "{% if yes %}", "{% else %}", "{% endif %}", "{% for i in two %}"),
    *("{% endfor %}", "{{ other }}", "{{ nothing }}", "$#", "$x", '"$(echo ', ')"', "'a'", '"b"', "$(echo c)"),
]
AROUND = st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join)


def compiled(source: str) -> Template | None:
    if re.search(r"\(\s*\)", source):  # it might define a function that calls itself without end
        return None
    try:
        return compile_template(source, "shell")
    except TemplateError:
        return None


SCRIPTS = st.builds("{}{{{{ item }}}}{}".format, AROUND, AROUND).map(compiled).filter(lambda template: template is not None)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@given(
    template=SCRIPTS,
    values=st.lists(st.sampled_from(CANARIES), min_size=1, max_size=4, unique=True),
    yes=st.booleans(),
    two=st.sampled_from([[], [1], [1, 2]]),
)
@examples(80, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow)
def test_no_value_becomes_syntax_in_a_script_that_was_taken(
    shell: list[str], template: Template, values: list[str], yes: bool, two: list[int], tmp_path: Path
) -> None:
    for value in values:
        script = template.render({"item": value, "yes": yes, "two": two, "other": "o", "nothing": []})
        subprocess.run(
            [*shell, "-c", script],
            cwd=tmp_path,
            env={"PATH": "/nonexistent"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert not (tmp_path / "canary").exists(), script


def test_the_canaries_do_sing(tmp_path: Path) -> None:
    """In a place that would have been refused each of the ways to break out is seen: so the test above can fail."""
    for source in ("echo '{{ item | raw }}'", "echo {{ item | raw }}", 'echo "{{ item | raw }}"'):
        for value in CANARIES[:5]:
            script = compile_template(source, "shell").render({"item": value})
            subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, timeout=60, check=False)
        assert (tmp_path / "canary").exists()
        (tmp_path / "canary").unlink()
