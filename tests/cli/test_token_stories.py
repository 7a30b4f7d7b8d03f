"""Two runs of the same work beside each other, as a user sees them: why the second waits, what it gets, how to run anew."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
from drivers.command_line import RunCli
from drivers.gate import Gate
from drivers.processes import wait_until


def told(run_cli: RunCli, *words: str) -> dict[str, object]:
    (found,) = json.loads(run_cli(*words, "--json").stdout)
    assert isinstance(found, dict)
    return found


def test_the_second_waits_shares_and_a_fresh_one_runs(run_cli: RunCli, gate: Gate, tmp_path: Path) -> None:
    job = f"[jobs.go]\ntoken = 'the work'\ntoken_ttl = '1h'\nshell = '''{gate.script}; echo done'''\n"
    (tmp_path / "work.toml").write_text(job)
    assert run_cli("run", "--detach", "--run-id", "first", "work.toml").returncode == 0
    gate.wait_until_reached()
    assert run_cli("run", "--detach", "--run-id", "second", "work.toml").returncode == 0
    wait_until(lambda: told(run_cli, "why", "second", "go")["status"] == "waiting", "second/go to wait")

    held = told(run_cli, "tokens", "list")
    assert (held["token"], held["state"], held["holder"]) == ("the work", "in flight", "first/go")
    assert psutil.pid_exists(int(str(held["pid"])))
    assert "first/go" in run_cli("why", "second", "go").stdout
    assert run_cli("tokens", "forget", "the work").returncode == 75

    gate.open()
    assert run_cli("wait", "first").returncode == run_cli("wait", "second").returncode == 0
    shared = told(run_cli, "results", "second")
    assert (shared["output"], shared["deduped_from"], shared["promoted"], shared["attempts"]) == ("done", "first/go", False, 0)
    assert shared["payload_hash"] == told(run_cli, "results", "first")["payload_hash"]
    assert "first/go did the same work" in run_cli("why", "second", "go").stdout

    replayed = run_cli("run", "--run-id", "third", "--progress", "lines", "work.toml")
    assert (replayed.returncode, "ok  go (shared from first/go)" in replayed.stderr) == (0, True)
    gate.open()
    assert run_cli("run", "--run-id", "fourth", "--fresh", "work.toml").returncode == 0
    assert told(run_cli, "results", "fourth")["deduped_from"] is None
    assert told(run_cli, "tokens", "list")["holder"] == "fourth/go"
    assert run_cli("tokens", "forget", "the work").returncode == 0
    gate.open()
    assert run_cli("run", "--run-id", "fifth", "work.toml").returncode == 0
    assert told(run_cli, "results", "fifth")["deduped_from"] is None
