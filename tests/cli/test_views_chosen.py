"""Which view a command line gets, by its options and by where it runs."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.cli.supervising import Shown, _chosen_view
from orchestrator.views.outlet import Outlet
from orchestrator.workers.protocol import MARK_VARIABLE


@pytest.mark.parametrize(
    ("shown", "environment", "view"),
    [
        ({}, {}, "PlainLines"),
        ({"progress": "never"}, {}, "PlainLines"),
        ({"progress": "lines"}, {}, "EachLine"),
        ({"progress": "always"}, {}, "LiveView"),
        ({"quiet": True}, {"GITHUB_ACTIONS": "true"}, "Quiet"),
        ({}, {"GITHUB_ACTIONS": "true"}, "ActionsLines"),
        ({"progress": "lines"}, {"GITHUB_ACTIONS": "true"}, "EachActionsLine"),
        ({}, {"GITHUB_ACTIONS": "true", MARK_VARIABLE: "m"}, "PlainLines"),
        ({}, {"GITHUB_ACTIONS": "false"}, "PlainLines"),
    ],
)
def test_a_run_is_shown_as_its_options_and_its_place_ask_for(
    shown: dict[str, Any], environment: dict[str, str], view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    invocation = cast(Any, SimpleNamespace(program=lambda: "orchestrate"))
    assert type(_chosen_view(invocation, Shown(**shown), Outlet(io.StringIO()))).__name__ == view
