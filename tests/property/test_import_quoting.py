"""Whatever quotes a placeholder of another engine's script stands in: the script that is made of it is one that we accept."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.importing.code import Code
from orchestrator.importing.printing import Placeholder
from orchestrator.importing.shell_text import script_of
from orchestrator.jobsfile.compiler import compile_template

PIECES = st.one_of(
    st.just(Placeholder(Code("inputs.x", "text"))),
    st.lists(st.sampled_from([*"\"'\\`#$(){}<> a\n;", "$(", "${", "<<E\n", "\nE\n", "case "]), min_size=1, max_size=6).map(
        "".join
    ),
)


@given(st.lists(PIECES, min_size=1, max_size=8))
def test_a_script_with_pasted_values_becomes_a_shell_template(pieces: list[str | Placeholder]) -> None:
    after = pairwise(pieces)
    assume(not any(isinstance(a, str) and a.endswith("{") and isinstance(b, Placeholder) for a, b in after))  # {{{ is no text
    told: list[str] = []
    made = script_of(pieces, told.append)
    if "${#" not in made and any(isinstance(piece, Placeholder) for piece in pieces):
        compile_template(made, "shell")
    assert made.count("| raw }}") == len(told)
