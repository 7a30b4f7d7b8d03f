"""The man page is the one that the commands make."""

from __future__ import annotations

import runpy
from pathlib import Path

MADE_BY = Path(__file__).resolve().parents[2] / "docs" / "reference" / "man_page.py"


def test_the_man_page_is_made_of_the_commands_as_they_are() -> None:
    made = runpy.run_path(str(MADE_BY))
    assert made["PAGE"].read_text("utf-8") == made["man_page"](), "make man"
