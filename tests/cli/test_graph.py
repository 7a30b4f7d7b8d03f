"""What waits for what, through the command line: needs, `when`, skipping, priority, several jobs at once."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.command_line import RunCli
from drivers.processes import WAIT


def results(run_cli: RunCli, run: str = "jobs.toml") -> dict[str, tuple[str, str | None]]:
    told = run_cli("results", run, "--json", "--fields", "item,status,error")
    assert told.returncode == 0, told.stderr
    return {each["item"]: (each["status"], each["error"]) for each in json.loads(told.stdout)}


GRAPH = """
[jobs.build]
shell = "echo built"
[jobs.bad]
shell = "exit 3"
max_failures = 0
[jobs.implied]
stdin = "{{ jobs.build.output }} by {{ jobs.build.status }}"
shell = "cat"
[jobs.after_bad]
needs = ["build", "bad"]
shell = "echo never"
[jobs.fan]
needs = ["after_bad"]
for_each = ["a", "b"]
shell = "echo never"
[jobs.looks]
needs = ["after_bad"]
when = "{{ jobs.bad.status == 'failed' }}"
shell = "echo {{ jobs.after_bad.status }}"
[jobs.after_looks]
needs = ["looks"]
shell = "echo well"
[jobs.cleanup]
needs = ["fan", "looks"]
when = "always"
shell = "echo clean"
[jobs.alarm]
needs = ["fan"]
when = "failed"
shell = "echo alarm"
[jobs.no_alarm]
needs = ["build"]
when = "failed"
shell = "echo never"
[jobs.some]
for_each = [1, 2, 3]
when = "{{ item != 2 and jobs.build.status == 'succeeded' }}"
shell = "echo {{ item }}"
[jobs.none]
when = false
shell = "echo never"
[jobs.after_none]
needs = ["none", "some"]
shell = "echo never"
"""


def test_a_failure_skips_what_needs_it_and_cleanup_runs_all_the_same(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(GRAPH)
    assert run_cli("run", "jobs.toml").returncode == 1
    told = results(run_cli)
    assert {item: status for item, (status, _) in told.items()} == {
        "build": "succeeded",
        "bad": "failed",
        "implied": "succeeded",
        "after_bad": "skipped",
        "looks": "succeeded",
        "after_looks": "succeeded",
        "cleanup": "succeeded",
        "alarm": "succeeded",
        "no_alarm": "skipped",
        "some:0": "succeeded",
        "some:1": "skipped",
        "some:2": "succeeded",
        "none": "skipped",
        "after_none": "skipped",
    }
    assert told["after_bad"][1] == "bad is failed"
    assert told["no_alarm"][1] == "nothing that it needs failed"
    assert told["some:1"][1] == "`when` is false"
    assert told["after_none"][1] == "none is skipped"
    assert run_cli("logs", "jobs.toml", "implied").stdout == "built by succeeded"
    assert run_cli("logs", "jobs.toml", "looks").stdout == "skipped\n"
    jobs = {job["id"]: job["status"] for job in json.loads(run_cli("status", "--json").stdout)["jobs"]}
    assert (jobs["fan"], jobs["some"]) == ("skipped", "succeeded")


def test_a_halted_run_still_cleans_up_and_a_resume_takes_back_what_was_skipped(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.try]
shell = "test -e mended"
[jobs.next]
needs = ["try"]
for_each = ["a", "b"]
shell = "echo {{ item }}"
[jobs.clean]
needs = ["next"]
when = "always"
shell = "echo clean >> cleaned"
[jobs.alarm]
needs = ["next"]
when = "failed"
shell = "echo alarm >> alarmed"
[jobs.unrelated]
needs = ["try"]
shell = "true"
"""
    )
    halted = run_cli("run", "jobs.toml", "--run-id", "r", "-j1")
    assert halted.returncode == 1
    assert json.loads(run_cli("status", "r", "--json").stdout)["error"] == {"item": "try", "message": "exit code 1"}
    assert {item: status for item, (status, _) in results(run_cli, "r").items()} == {
        "try": "failed",
        "clean": "succeeded",
        "alarm": "succeeded",
        "unrelated": "pending",
    }
    (tmp_path / "mended").touch()
    assert run_cli("resume", "r").returncode == 0
    assert {item: status for item, (status, _) in results(run_cli, "r").items()} == {
        "try": "succeeded",
        "next:0": "succeeded",
        "next:1": "succeeded",
        "clean": "succeeded",
        "alarm": "succeeded",
        "unrelated": "succeeded",
    }
    assert (tmp_path / "cleaned").read_text() + (tmp_path / "alarmed").read_text() == "clean\nalarm\n"


def test_what_is_urgent_starts_first_and_equals_in_the_files_order(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[defaults]
shell = "echo {{ item }} >> order"
[jobs.later]
priority = -1
for_each = ["l1", "l2"]
[jobs.usual]
for_each = ["u1", "u2"]
[jobs.urgent]
priority = 5
for_each = ["p1", "p2"]
[jobs.as_usual]
for_each = ["v1"]
"""
    )
    assert run_cli("run", "jobs.toml", "-j1").returncode == 0
    assert (tmp_path / "order").read_text().split() == ["p1", "p2", "u1", "u2", "v1", "l1", "l2"]


def test_jobs_that_do_not_need_each_other_run_at_once_within_the_slots(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        f"""
[jobs.one]
shell = "touch one; {WAIT.replace("NAME", "two")}"
[jobs.two]
shell = "touch two; {WAIT.replace("NAME", "one")}"
[jobs.three]
for_each = [1, 2]
shell = "test -e one && test -e two"
"""
    )
    told = run_cli("run", "jobs.toml", "-j2")
    assert told.returncode == 0, told.stderr


def test_cycles_and_unknown_names_are_told_at_once_and_nothing_starts(run_cli: RunCli, tmp_path: Path, home: Path) -> None:
    (tmp_path / "jobs.toml").write_text(
        """
[jobs.first]
needs = ["third"]
shell = "touch ran"
[jobs.second]
shell = "echo {{ jobs.first.output }}"
[jobs.third]
for_each = { job = "second" }
shell = "echo {{ jobs.frist.output }} {{ inputs.x }}"
[jobs.alone]
needs = ["alone"]
when = "sometimes"
shell = "echo {{ itme }}"
for_each = [1]
"""
    )
    told = run_cli("run", "jobs.toml")
    assert told.returncode == 2
    assert [line.strip().partition(": ")[2] for line in told.stderr.splitlines()[1:]] == [
        "jobs.first: waits for itself: first -> third -> second -> first",
        "jobs.third.shell: inputs.x is not declared",
        "jobs.third.shell: no job is called frist; did you mean first?",
        "jobs.alone.needs: a job cannot wait for itself (alone -> alone)",
        'jobs.alone.when: expected "always", "failed", true, false or a template such as "{{ item > 3 }}", '
        'got a string ("sometimes")',
        "jobs.alone.shell: itme is not a name that templates know; did you mean item?",
    ]
    assert not (tmp_path / "ran").exists()
    assert not list(home.glob("runs/*"))
