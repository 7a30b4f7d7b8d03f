"""Which items may be queued: of a job that says nothing that is asked at a start, or that looks at what an attempt has done, and
as long as those before them were short.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from drivers.memory_engine import failed, ok

from orchestrator.core.events import Event, MoreAsked, PaceTold
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import AgentAction, CommandAction, Job, Workspace
from orchestrator.supervisor.paces import Paces, _is_plain
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


LONG, SHORT = 1.0, 0.01


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        # Two tell how long others last, one does not.
        ([SHORT], []),
        ([SHORT, SHORT], [7]),
        ([LONG] + [SHORT] * 2, []),
        ([SHORT, SHORT, LONG], [7, 0]),
        ([SHORT] * 8 + [0.5], [7]),
        # After one that failed some ten must have gone well.
        ([SHORT, SHORT, None] + [SHORT] * 9, [7, 0]),
        ([SHORT, SHORT, None] + [SHORT] * 10, [7, 0, 7]),
    ],
)
def test_items_are_queued_as_long_as_the_last_ones_were_short(ends: list[float | None], told: list[int]) -> None:
    """`ends`: how long each lasted; None: it failed."""
    assert [event.queue_length for event in what_is_told(ends, []) if isinstance(event, PaceTold)] == told


def what_is_told(ends: list[float | None], flights: list[Any]) -> list[Event]:
    """While these fly items of the first of two jobs end."""
    heard: list[Event] = []
    run = SimpleNamespace(
        jobs=[PLAIN, PLAIN],
        jobs_file=SimpleNamespace(run=SimpleNamespace(min_free_memory=None)),
        happened=lambda *events: heard.extend(events),
    )
    paces = Paces(cast(Any, run), flights, 7, is_alone=True)
    for seconds in ends:
        came_to = failed(1) if seconds is None else msgspec.structs.replace(ok(), duration_seconds=seconds)
        paces.attempt_ended(cast(Any, SimpleNamespace(item=(0, 0))), came_to)
    return heard


@pytest.mark.parametrize(
    ("flight", "gets_a_queue"),
    [
        ({}, True),
        ({"is_over": True}, False),
        ({"is_queued": True}, False),
        # Its worker listens to nobody.
        ({"is_adopted": True}, False),
        # It may fail again.
        ({"start": SimpleNamespace(attempt=2)}, False),
        ({"item": (1, 3)}, False),
    ],
)
def test_what_runs_alone_gets_a_queue_as_soon_as_it_is_known_that_items_are_short(
    flight: dict[str, Any], gets_a_queue: bool
) -> None:
    plain = {"item": (0, 3), "is_over": False, "is_queued": False, "is_adopted": False, "start": SimpleNamespace(attempt=1)}
    told = what_is_told([SHORT, SHORT], [SimpleNamespace(**(plain | flight))])
    assert told == [PaceTold(0, 7), *([MoreAsked((0, 3))] if gets_a_queue else [])]
