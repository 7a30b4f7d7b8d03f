"""What is understood of a line that somebody typed at a gate, and what of a file is shown there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.views.prompt import Said, file_lines, understood

OPTIONS = ["approve", "Later", "reject", "abort"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("approve", Said("approve", "")),
        ("  approve  ", Said("approve", "")),
        ("APPROVE it is  fine ", Said("approve", "it is  fine")),
        ("reject: the year is missing", Said("reject", "the year is missing")),
        ("l", Said("Later", "")),
        ("ap", Said("approve", "")),
        ("", "  an empty line is no answer"),
        ("   ", "  an empty line is no answer"),
        ("a", "  a could be approve or abort"),
        ("y", "  y is none of the choices"),
        ("\x1b[2J", "  \\x1b[2J is none of the choices"),
    ],
)
def test_only_a_line_that_begins_with_one_choice_is_one(line: str, said: Said | str) -> None:
    assert understood(line, OPTIONS) == said


def test_a_file_is_shown_without_what_a_terminal_would_obey_and_not_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_bytes(b"a\x1b[31m\n\xff\n" + b"x\n" * 100)
    lines = file_lines(str(path))
    assert lines[:3] == [f"--- {path}", "a\\x1b[31m", "\ufffd"]
    assert (len(lines), lines[-1]) == (42, "--- and more")


def test_what_is_no_file_is_told_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert file_lines(str(tmp_path / "fifo")) == [f"{tmp_path}/fifo is not a file"]
    assert file_lines(str(tmp_path / "none")) == [f"{tmp_path}/none cannot be shown: No such file or directory"]
