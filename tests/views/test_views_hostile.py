"""Every word of every happening, hostile: no view lets a terminal obey it, and none makes two lines of it."""

from __future__ import annotations

import io
import re
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest

from orchestrator.views.happenings import Happening, RunBegan, RunFinished
from orchestrator.views.listener import Listener
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import EachLine, PlainLines, Quiet
from orchestrator.views.terminal import LiveView

HOSTILE = "h\x1b[2JZ\x1b]0;t\x07Z\x9b2JZ\x85Z\rZ\nZ\u202eZ\u2028Z\u200bZ\udc9bZ"
DRAWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r(?!Z)")

WORDS = {"status": "failed"}
"""What a view looks for in a word; every other word is hostile."""


def hostile(kind: type[Any]) -> Any:
    """A happening in which everything that is a text is hostile, and every number 1."""
    return kind(**{name: _value(name, told) for name, told in get_type_hints(kind).items()})


def _value(name: str, told: Any) -> Any:
    kinds = set(get_args(told)) if isinstance(told, UnionType) else {told}
    if str in kinds:
        return WORDS.get(name, HOSTILE)
    if list[str] in kinds:
        return [HOSTILE]
    if told == dict[str, Any]:
        error = {"item": HOSTILE, "message": HOSTILE}
        selection = {"selected": 1, "items": 2, "jobs_left_out": 0, "only": [HOSTILE], "limit": None}
        jobs = [{"id": HOSTILE, "status": "failed", "counts": {}}]
        return {"run_id": HOSTILE, "status": "paused", "reason": HOSTILE, "error": error, "selection": selection, "jobs": jobs}
    if kinds & {dict[str, int]}:
        return {HOSTILE: 1}
    return bool not in kinds and 1


@pytest.mark.parametrize("view", ["lines", "each", "quiet", "live"])
def test_no_word_of_a_happening_drives_a_terminal_or_ends_a_line(view: str) -> None:
    stream = io.StringIO()
    outlet = Outlet(stream)
    views: dict[str, Listener] = {
        "lines": PlainLines(outlet, HOSTILE),
        "each": EachLine(outlet, HOSTILE),
        "quiet": Quiet(outlet, HOSTILE),
        "live": LiveView(outlet, HOSTILE, force=True),
    }
    kinds = [RunBegan, *(kind for kind in get_args(Happening) if kind not in (RunBegan, RunFinished)), RunFinished]
    for number, kind in enumerate(kinds):
        views[view].hear(hostile(kind))
        views[view].refresh(float(number))
    views[view].close()
    told = DRAWN.sub("", stream.getvalue())
    assert [each for each in told if not each.isprintable() and each != "\n"] == []
    assert [line for line in told.splitlines() if line.startswith("Z")] == []
    assert "\\u202e" in told


def test_words_of_a_failure_keep_their_lines_and_drive_nothing() -> None:
    stream = io.StringIO()
    Outlet(stream).write(f"{HOSTILE}\n\tnext\n")
    assert [each for each in stream.getvalue() if not each.isprintable() and each not in "\n\t"] == []
    assert stream.getvalue().endswith("\n\tnext\n")
