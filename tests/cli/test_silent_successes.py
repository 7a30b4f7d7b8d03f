"""An agent that exits as after a success and did nothing: what people are told, and what `expect` makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli

pytestmark = pytest.mark.usefixtures("witness")

JOBS = """
[defaults]
continue_on_error = true
[jobs.mute]
agent = "fake"
prompt = "fake: ok text=' ' turns=0 deny=Bash"
[jobs.well]
agent = "fake"
prompt = "fake: ok text=done"
[jobs.says]
agent = "fake"
prompt = "fake: ok text=' '"
expect = "answer"
[jobs.does]
agent = "fake"
prompt = "fake: ok text='I have changed it.'"
workspace = "temp"
expect = "change"
"""


def test_a_success_in_which_nothing_was_done_is_told_with_a_note_and_is_none_where_more_is_expected(
    run_cli: RunCli, tmp_path: Path
) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    lines = run_cli("run", "--run-id", "r", "-j", "1", "--progress", "lines", "jobs.toml").stderr.splitlines()
    mute, at_the_end = [line for line in lines if line.startswith("ok") and "mute" in line]
    assert mute.endswith("(nothing was said; it took no turn; 1 denied (Bash))")
    assert at_the_end == "ok     mute: nothing was said; it took no turn; 1 denied (Bash)"
    assert any("well" in line and "(" not in line for line in lines)
    assert 'FAILED says: agent_failed: nothing was said, and expect = "answer"' in lines
    assert 'FAILED does: agent_failed: nothing was changed, and expect = "change": I have changed it.' in lines
    assert "ok     mute: nothing was said; it took no turn; 1 denied (Bash)" in run_cli("status", "r").stdout.splitlines()
    results = {each["item"]: each for each in json.loads(run_cli("results", "r", "--json").stdout)}
    assert [results[item]["notes"] for item in ("mute", "well", "says")] == [["nothing was said", "it took no turn"], [], []]
    assert [results[item]["class"] for item in results] == ["ok", "ok", "agent_failed", "agent_failed"]
    (row,) = [line for line in run_cli("results", "r").stdout.splitlines() if line.startswith("mute")]
    assert row.endswith("nothing was said; it took no turn; 1 denied")
    assert "  note: nothing was said; it took no turn" in run_cli("why", "r", "mute").stdout.splitlines()
