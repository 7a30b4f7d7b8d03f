"""`--events`: one JSON object a line, each read back as what it was."""

from __future__ import annotations

import io
import json
import os

import msgspec
from drivers.views_story import began, ended, finished, listed, started

from orchestrator.views.happenings import Happening, ItemWaiting
from orchestrator.views.json_lines import EventLines, json_line
from orchestrator.views.listeners import Listeners
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import EachLine


def test_every_happening_is_one_line_that_reads_back() -> None:
    waiting = ItemWaiting(item="port:1", job="port", label=None, message="port:0 does the same work", at=1.0)
    shared = ended(1, attempts=0, deduped_from="r1/port:0")
    story = [began(), listed(2), started(0, 'a "b"\n'), waiting, ended(0), shared, finished(succeeded=2)]
    stream = io.BytesIO()
    view = EventLines(stream)
    for happening in story:
        view.hear(happening)
    lines = stream.getvalue().splitlines()
    assert [msgspec.json.decode(line, type=Happening) for line in lines] == story
    assert json.loads(lines[0])["event"] == "run_began"


def test_a_reader_that_has_gone_silences_the_events_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    said = io.StringIO()
    with open(writing, "wb", buffering=0) as stream:
        view = Listeners([EventLines(stream), EachLine(Outlet(said), "orchestrate")])
        view.hear(began())
        view.hear(ended(0))
        view.refresh_if_due(0.0)
        view.close()
    assert said.getvalue().count("\n") == 2


def test_a_name_that_is_not_utf8_is_still_json() -> None:
    line = json_line({"label": "a\udcff"})
    assert json.loads(line) == {"label": "a\udcff"}
    assert json.loads(json_line(ended(0, label="\udcff")))["label"] == "\udcff"
