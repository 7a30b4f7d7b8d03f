"""Gates through the command line: the run pauses at a question, is answered from any shell, and goes on as the answer says."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.command_line import RunCli

JOBS = """
[jobs.draft]
shell = "echo draft SAID"
[jobs.beside]
shell = "echo beside"
[jobs.ship]
gate = "Ship {{ jobs.draft.output }}?"
on_reject = ON_REJECT
[jobs.push]
needs = ["ship"]
shell = "echo pushed: {{ jobs.ship.output }}, {{ jobs.ship.message }}"
"""


def write(folder: Path, on_reject: str) -> None:
    said = "{{ jobs.ship.message }}" if "retry" in on_reject else ""
    (folder / "jobs.toml").write_text(JOBS.replace("ON_REJECT", on_reject).replace("SAID", said))


def results(run_cli: RunCli, reference: str = "jobs.toml") -> dict[str, tuple[str, int, object, object]]:
    told = run_cli("results", reference, "--json")
    assert told.returncode == 0, told.stderr
    return {each["item"]: (each["status"], each["attempts"], each["output"], each["error"]) for each in json.loads(told.stdout)}


def test_a_run_pauses_at_a_gate_and_goes_on_once_it_is_answered(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path, '{ retry = "draft" }')
    paused = run_cli("run", "jobs.toml", "--run-id", "r")
    assert paused.returncode == 3
    command = "asks ship: Ship draft ? [approve, reject]\n       orchestrate approve r ship\n"
    assert command in paused.stderr
    status = run_cli("status", "r").stdout
    assert "  r  " not in status
    assert "ship    waiting      1 waiting" in status
    assert command in status
    assert (
        "it waits for somebody's choice (approve, reject): Ship draft ?; orchestrate approve r ship"
        in run_cli("why", "r", "ship").stdout
    )
    assert run_cli("resume", "r", "--quiet").returncode == 3, "asked again, and still nobody has answered"

    sent_back = run_cli("approve", "r", "ship", "--choice", "reject", "--message", "too short")
    assert (sent_back.returncode, sent_back.stdout) == (0, "ship: answered; go on with: orchestrate resume r\n")
    assert run_cli("approve", "r", "ship", "--choice", "reject").stdout.startswith("ship: answered so already")
    other = run_cli("approve", "r", "ship")
    assert (other.returncode, other.stderr) == (
        2,
        "orchestrate: ship is answered already: reject\n  a choice that is made stands\n",
    )
    assert run_cli("resume", "r", "--quiet").returncode == 3
    assert "Ship draft too short?" in run_cli("status", "r").stdout, "it was asked again before the draft was made again"

    assert run_cli("approve", "r", "sh*", "--message", "fine", "--resume").returncode == 0
    assert results(run_cli) == {
        "draft": ("succeeded", 2, "draft too short", None),
        "beside": ("succeeded", 1, "beside", None),
        "ship": ("succeeded", 0, "approve", None),
        "push": ("succeeded", 1, "pushed: approve, fine", None),
    }
    assert "stale" not in run_cli("status", "r").stdout


def test_a_rejection_ends_the_run_or_skips_what_stands_behind(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path, '"abort"')
    assert run_cli("run", "jobs.toml", "--quiet", "--run-id", "r").returncode == 3
    rejected = run_cli("approve", "r", "ship", "--choice", "reject", "-m", "not now", "--resume")
    assert rejected.returncode == 5
    assert "FAILED ship: rejected: not now" in rejected.stderr
    assert run_cli("wait", "r").returncode == 5
    assert results(run_cli)["ship"] == ("failed", 0, "reject", "rejected: not now")
    assert run_cli("resume", "r", "--quiet").returncode == 3, "a resume asks again"
    assert run_cli("approve", "r", "ship", "--resume").returncode == 0

    write(tmp_path, '"skip"')
    assert run_cli("run", "jobs.toml", "--quiet", "--run-id", "s").returncode == 3
    assert run_cli("approve", "s", "ship", "--choice", "reject", "--resume").returncode == 0
    assert {item: each[0] for item, each in results(run_cli, "s").items()}["push"] == "skipped"
    assert run_cli("resume", "s", "--quiet").returncode == 0, "what was rejected stays so"


def test_each_item_of_a_fan_out_is_asked_for_itself(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[defaults]
timeout = "1m"
max_concurrency = 1
[jobs.make]
for_each = ["a", "b", "c"]
shell = "echo {{ item }} {{ jobs.look.message }}"
[jobs.look]
for_each = { job = "make" }
when = "{{ item != 'c' }}"
gate = "Is {{ parent.output }} good?"
options = ["good", "better", "reject"]
on_reject = { retry = "make" }
[jobs.ship]
for_each = { job = "look" }
shell = "echo {{ item }} is {{ parent.output }}"
"""
    )
    assert run_cli("run", "jobs.toml", "--quiet", "--run-id", "r").returncode == 3
    unclear = run_cli("approve", "r", "look:a")
    assert (unclear.returncode, unclear.stderr.splitlines()[0]) == (2, "orchestrate: look:0 has several choices that approve")
    unknown = run_cli("approve", "r", "look:a", "--choice", "godo")
    assert unknown.stderr == "orchestrate: look:0 has no choice 'godo'; did you mean good?\n  it has: good, better, reject\n"
    assert run_cli("approve", "r", "look:a", "--choice", "reject", "-m", "once more").returncode == 0
    assert run_cli("approve", "r", "look:b", "--choice", "good", "--resume").returncode == 3
    assert results(run_cli) == {
        "make:0": ("succeeded", 2, "a once more", None),
        "make:1": ("succeeded", 1, "b ", None),
        "make:2": ("succeeded", 1, "c ", None),
        "look:0": ("waiting", 0, None, None),
        "look:1": ("succeeded", 0, "good", None),
        "look:2": ("skipped", 0, None, "`when` is false"),
        "ship:0": ("pending", 0, None, None),
        "ship:1": ("succeeded", 1, "b is good", None),
        "ship:2": ("skipped", 0, None, "look:2 is skipped"),
    }
    assert run_cli("approve", "r", "look", "--choice", "better", "--resume").returncode == 0
    assert results(run_cli)["ship:0"][2] == "a is better"


def test_what_is_no_open_gate_takes_no_answer(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text('[jobs.a]\nshell = "exit 1"\n[jobs.g]\nneeds = ["a"]\ngate = "Go on?"\n')
    assert run_cli("run", "jobs.toml", "--quiet", "--run-id", "r").returncode == 1
    assert run_cli("approve", "r", "a").stderr == "orchestrate: a names no gate of run r\n  its gates are: g\n"
    early = run_cli("approve", "r", "g")
    assert (early.returncode, early.stderr.splitlines()[0]) == (2, "orchestrate: g has not asked yet")
    assert run_cli("exec", "r", "g").returncode == 2


def test_a_gate_of_a_run_that_was_cancelled_without_a_supervisor_asks_no_more(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path, '"abort"')
    assert run_cli("run", "jobs.toml", "--run-id", "r").returncode == 3
    assert run_cli("cancel", "r").returncode == 0
    assert "asks" not in run_cli("status", "r").stdout
    assert results(run_cli, "r")["ship"][0] == "cancelled"
