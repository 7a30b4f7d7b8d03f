"""Whatever quotes a placeholder of another engine's script stands in: the script that is made of it is one that we accept."""

from __future__ import annotations

from drivers.sweeps import examples
from hypothesis import HealthCheck, assume, given
from hypothesis import strategies as st

from orchestrator.cli.importing.code import Code
from orchestrator.cli.importing.printing import Placeholder
from orchestrator.cli.importing.shell_text import script_of
from orchestrator.jobsfile.language.compiler import compile_template

SIGNS = st.sampled_from([*"\"'\\`#$(){}<> a\n;", "$(", "${", "<<E\n", "\nE\n", "case "])
TEXTS = st.lists(SIGNS, max_size=6).map("".join)
VALUE = Placeholder(Code("inputs.x", "text"))


@examples(200, *HealthCheck, derandomize=True)
@given(st.lists(TEXTS, min_size=2, max_size=5))
def test_a_script_with_pasted_values_becomes_a_shell_template(texts: list[str]) -> None:
    assume(not any(text.endswith("{") for text in texts[:-1]))  # no text: `{{{` begins a placeholder that begins with a brace
    pieces: list[str | Placeholder] = []
    for text in texts:
        pieces += [text, VALUE] if text else [VALUE]
    told: list[str] = []
    made = script_of(pieces[:-1], told.append)
    compile_template(made, "shell")
    assert made.count("| raw }}") == len(told)
