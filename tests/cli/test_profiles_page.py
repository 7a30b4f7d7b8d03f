"""What docs/profiles.md shows works: its profiles are right as they stand, run, and no key is left out."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import get_args

import pytest
from drivers.command_line import RunCli

from orchestrator.jobsfile.language.decode import fields_of
from orchestrator.jobsfile.profiles import keys as tables
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.workers.agents.reset_times import RESET_GROUPS
from orchestrator.workers.protocol.reading import EventMeaning, LineMeaning, TakeName

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "profiles.md").read_text("utf-8")
CHANGED, WRITTEN = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)

MINE = """
import json, sys
prompt = sys.stdin.read()
arguments = sys.argv[1:]
def say(**event): print(json.dumps(event), flush=True)
say(type="begin", session={"id": "s-7"}, model="m-1")
if "no key" in prompt:
    say(type="retry", http={"status": 401, "body": json.dumps({"error": {"message": "who are you?"}}), "headers": {}})
    sys.stdin.close()
    import time
    time.sleep(60)
say(type="step")
used = {"input": 100, "cached": 40, "output": 7}
say(type="end", ok="please" in prompt, text=f"did {prompt.strip()} with {arguments}",
    cost=0.25, usage=used, denied=[{"tool": "rm"}])
"""

JOBS = """
[jobs.good]
agent = "mine"
model = "big"
permissions = "edit"
prompt = "this, please"

[jobs.rude]
needs = ["good"]
continue_on_error = true
agent = "mine"
prompt = "this"

[jobs.nobody]
needs = ["good"]
continue_on_error = true
agent = "mine"
prompt = "no key"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A jobs file with the page's profiles beside it."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "claude.toml").write_text(CHANGED)
    written = WRITTEN.replace('"mine", "--json"', json.dumps([sys.executable, str(tmp_path / "mine.py"), "--json"])[1:-1])
    (tmp_path / "agents" / "mine.toml").write_text(written)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "jobs.toml").write_text(JOBS)
    return tmp_path


@pytest.mark.usefixtures("home")
def test_the_changed_profile_has_its_changes_and_all_else_of_the_one_behind_it(folder: Path) -> None:
    shipped, changed = Profiles().get("claude"), Profiles(str(folder)).get("claude")
    assert changed.command[0] == "claude-nightly"
    assert changed.env == {**shipped.env, "CLAUDE_CODE_MAX_RETRIES": "1"}
    assert changed.reading == shipped.reading


def test_the_written_profile_runs_an_agent_that_nobody_knew_before(folder: Path, run_cli: RunCli) -> None:
    ran = run_cli("run", "jobs.toml", "--quiet", cwd=folder)
    assert ran.returncode == 1, ran.stderr
    results = {each["job"]: each for each in json.loads(run_cli("results", "--json", cwd=folder).stdout)}
    good, rude, nobody = results["good"], results["rude"], results["nobody"]
    assert (good["class"], good["output"]) == ("ok", "did this, please with ['--json', '--write', '--model', 'big']")
    assert (good["cost_usd"], good["session_id"]) == (0.25, "s-7")
    assert good["usage"] == {"input_tokens": 60, "output_tokens": 7, "cache_read_tokens": 40}
    assert rude["class"] == "denied", "it failed, and says what it was not allowed to do"
    assert nobody["class"] == "auth"
    assert nobody["exit_code"] is None, "it was ended, and not waited for until it exits a minute later"


@pytest.mark.parametrize(
    "table",
    [tables.ProfileTable, tables.EventTable, tables.LineTable, tables.FlagTable, tables.PermissionTable, tables.ShowTable],
)
def test_the_page_names_every_key(table: type) -> None:
    left_out = [key for key in fields_of(table) if not any(form in PAGE for form in (f"`{key}`", f"`[[{key}]]`", f"{key} ="))]
    assert left_out == []


@pytest.mark.parametrize("kind", [EventMeaning, LineMeaning, TakeName, tables.FailureName])
def test_the_page_names_every_word(kind: object) -> None:
    assert [word for word in get_args(kind) if f"`{word}`" not in PAGE and f"{word} =" not in PAGE] == []


def test_the_page_names_every_part_of_a_time() -> None:
    assert [name for name in sorted(RESET_GROUPS) if f"`{name}`" not in PAGE] == []
