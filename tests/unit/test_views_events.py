"""`--events`: one JSON object a line, each read back as what it was."""

from __future__ import annotations

import io
import json
import os

import msgspec
from views_story import began, ended, finished, listed, started

from orchestrator.views.events import Both, EventLines, json_line
from orchestrator.views.happenings import Happening
from orchestrator.views.lines import PlainLines
from orchestrator.views.outlet import Outlet


def test_every_happening_is_one_line_that_reads_back() -> None:
    story = [began(), listed(1), started(0, 'a "b"\n'), ended(0), finished(succeeded=1)]
    stream = io.BytesIO()
    view = EventLines(stream)
    for happening in story:
        view.show(happening)
    lines = stream.getvalue().splitlines()
    assert [msgspec.json.decode(line, type=Happening) for line in lines] == story
    assert json.loads(lines[0])["event"] == "run_began"


def test_a_reader_that_has_gone_silences_the_events_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = io.StringIO()
    with open(writing, "wb", buffering=0) as stream:
        view = Both(EventLines(stream), PlainLines(Outlet(said), "orchestrate"))
        view.show(began())
        view.show(ended(0))
        view.refresh()
        view.close()
    assert said.getvalue().count("\n") == 2


def test_a_name_that_is_not_utf8_is_still_json() -> None:
    line = json_line({"label": "a\udcff"})
    assert json.loads(line) == {"label": "a\udcff"}
    assert json.loads(json_line(ended(0, label="\udcff")))["label"] == "\udcff"
