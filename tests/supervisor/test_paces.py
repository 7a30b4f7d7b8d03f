"""Which items may be queued: a job says nothing that is asked at a start, or that looks at what an attempt has done."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import AgentAction, CommandAction, Job, Workspace
from orchestrator.supervisor.paces import _is_plain
from orchestrator.workers.protocol import Limits

A_TEMPLATE = Template("x", "text")
PLAIN = Job(id="a", action=CommandAction(argv=(A_TEMPLATE,)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("attempts", 3), ("max_failures", None), ("stdin", A_TEMPLATE), ("limits", Limits(timeout_seconds=3.0)), ("priority", 2)],
)
def test_what_only_says_how_it_runs_keeps_no_item_from_a_queue(key: str, value: Any) -> None:
    assert _is_plain(Job(id="a", action=PLAIN.action, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        # A success whose output is no JSON is none, and its worker does not know.
        ("output", "json"),
        ("output", "lines"),
        ("check", A_TEMPLATE),
        ("creates", A_TEMPLATE),
        ("when", A_TEMPLATE),
        ("when", "always"),
        ("token", A_TEMPLATE),
        ("pool", "narrow"),
        ("control", True),
        ("limits", Limits(memory_bytes=1 << 20)),
        ("workspace", Workspace(kind="temp")),
        ("action", AgentAction(agent=A_TEMPLATE)),
    ],
)
def test_what_is_asked_at_a_start_or_looks_at_its_end_keeps_items_from_a_queue(key: str, value: Any) -> None:
    assert not _is_plain(Job(**{"id": "a", "action": PLAIN.action, key: value}))
