"""Loops through the command line: rounds until or while something holds, each of them kept."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.command_line import RunCli


def results(run_cli: RunCli, *arguments: str) -> list[dict[str, object]]:
    told = run_cli("results", "jobs.toml", "--json", *arguments)
    assert told.returncode == 0, told.stderr
    return list(json.loads(told.stdout))


def test_a_loop_goes_on_until_its_condition_holds_and_each_round_sees_the_one_before(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.draft]
for_each = ["a", "b"]
shell = "echo {{ item }}{{ round }} after {{ output | default('nothing', true) }}"
repeat = { until = "{{ round == (3 if item == 'a' else 2) }}" }
[jobs.report]
for_each = { job = "draft" }
shell = "echo got {{ parent.output }} in {{ parent.round }}"
"""
    )
    assert run_cli("run", "jobs.toml").returncode == 0
    assert [(each["item"], each["round"], each["attempts"], each["output"]) for each in results(run_cli)] == [
        ("draft:0", 3, 3, "a3 after a2 after a1 after nothing"),
        ("draft:1", 2, 2, "b2 after b1 after nothing"),
        ("report:0", None, 1, "got a3 after a2 after a1 after nothing in 3"),
        ("report:1", None, 1, "got b2 after b1 after nothing in 2"),
    ]
    assert [(each["item"], each["output"]) for each in results(run_cli, "--rounds", "--fields", "item,output")][:2] == [
        ("draft:0#1", "a1 after nothing"),
        ("draft:0#2", "a2 after a1 after nothing"),
    ]
    assert run_cli("logs", "jobs.toml", "draft:b#1").stdout == "b1 after nothing\n"
    missing = run_cli("logs", "jobs.toml", "draft:1#3")
    assert (missing.returncode, missing.stderr) == (2, "orchestrate: draft:1 has done no round 3\n  it has done 2 rounds\n")


def test_a_condition_that_asks_for_the_exit_code_makes_it_data(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[defaults]
continue_on_error = true
[jobs.passes]
shell = "test {{ round }} -ge 3"
repeat = { while = "{{ exit_code != 0 }}" }
[jobs.gives_up]
shell = "exit 4"
repeat = { until = "{{ exit_code == 0 }}", max = 2 }
[jobs.must_pass]
shell = "exit 4"
repeat = { until = "{{ exit_code == 0 }}", max = 2, must = true }
[jobs.fails]
shell = "exit 4"
repeat = { until = "{{ output == 'done' }}", max = 9 }
[jobs.asks_nonsense]
shell = "echo 5"
repeat = { until = "{{ output }}" }
[jobs.never]
shell = "exit 1"
repeat = { while = "{{ exit_code == 0 }}" }
"""
    )
    told = run_cli("run", "jobs.toml")
    assert told.returncode == 1
    # In its line, and once more in the report at the end: a success that is none of what the loop was for.
    assert "ok     gives_up: repeat.until is not true after 2 rounds" in told.stderr.splitlines()
    assert "ok     gives_up: repeat.until is not true after 2 rounds" in run_cli("status", "jobs.toml").stdout.splitlines()
    for said_by_both in (told.stderr, run_cli("status", "jobs.toml").stdout):
        words = "FAILED must_pass: repeat.until is not true after 2 rounds, and must = true"
        assert words in said_by_both.splitlines(), "how often is told once"
    said = {each["item"]: each for each in results(run_cli)}
    assert {item: (each["status"], each["class"], each["exit_code"], each["round"]) for item, each in said.items()} == {
        "passes": ("succeeded", "ok", 0, 3),
        "gives_up": ("succeeded", "ok", 4, 2),
        "must_pass": ("failed", "loop_failed", 4, 2),
        "fails": ("failed", "command_failed", 4, None),
        "asks_nonsense": ("failed", "loop_failed", 0, 1),
        "never": ("succeeded", None, None, None),
    }
    assert (said["gives_up"]["error"], said["gives_up"]["notes"]) == (None, ["repeat.until is not true after 2 rounds"])
    assert said["passes"]["notes"] is None
    assert said["must_pass"]["error"] == "repeat.until is not true after 2 rounds, and must = true"
    assert "repeat.until: expected true or false" in str(said["asks_nonsense"]["error"])
