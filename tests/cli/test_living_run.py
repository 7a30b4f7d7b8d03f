"""The commands beside a run that goes on: status, why, logs -f, wait, flush, cancel, stop; and --detach, which starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.command_line import RunCli
from drivers.gate import Gate
from drivers.processes import wait_until

from orchestrator.system.locks.holders import is_stopped
from orchestrator.workers.log import read_log
from orchestrator.workers.protocol import Spawned

ORCHESTRATE = [sys.executable, "-m", "orchestrator"]


@contextmanager
def beside(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on beside the test, and not beyond it: whatever the test comes to."""
    with subprocess.Popen([*ORCHESTRATE, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_what_runs_what_waits_and_why(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    status = run_cli("status").stdout
    assert f"run {living_run}  living  running" in status
    assert "running now:\n  go:0 a  " in status
    assert "go:0 a of run living is running\n  attempt 1 runs in slot" in run_cli("why", living_run, "go:0").stdout
    assert "it is the next of go; it waits for a slot" in run_cli("why", living_run, "go:1").stdout
    assert run_cli("logs", living_run, "go:0").stdout == "before a\n"
    assert run_cli("flush", living_run).returncode == 0
    told = run_cli("prune", "--older-than", "0s")
    assert told.stdout == "0 runs, 0 B freed\n"
    assert run_cli("prune", "--older-than", "0s", "--dry-run").stdout == "0 runs, 0 B would be freed\n"
    gate.open()
    gate.wait_until_reached()
    gate.open()
    assert run_cli("wait", living_run).returncode == 0
    assert run_cli("logs", living_run, "go:1").stdout == "before b\nafter b\nerr\n"


def test_a_run_in_the_background_is_shown_to_its_end_and_goes_on_without_its_viewer(
    run_cli: RunCli, living_run: str, gate: Gate
) -> None:
    with subprocess.Popen([*ORCHESTRATE, "attach", living_run], stderr=subprocess.PIPE, text=True) as viewer:
        try:
            assert viewer.stderr is not None
            assert viewer.stderr.readline() == "run living living: 1 slot\n"
            viewer.send_signal(signal.SIGINT)
            assert viewer.wait(60) == 130
            assert "note: run living goes on: orchestrate attach living shows it again" in viewer.stderr.read()
        finally:
            viewer.kill()
    for _ in range(2):
        gate.open()
    told = run_cli("attach")
    assert told.returncode == 0
    assert "completed: 2 succeeded" in told.stderr
    assert run_cli("status", "--watch").stdout == run_cli("status").stdout, "it goes on no more"


def test_why_names_the_processes_of_an_item_that_are_stopped(
    run_cli: RunCli, living_run: str, gate: Gate, tmp_path: Path
) -> None:
    (log,) = (tmp_path / "home").glob(f"runs/{living_run}/workers/*/log")
    # The item stands at its gate perhaps before the log has its process.
    (agent,) = wait_until(lambda: [line.pid for line in read_log(str(log)) if isinstance(line, Spawned)], "it is in the log")
    os.kill(agent, signal.SIGSTOP)
    try:
        wait_until(lambda: is_stopped(agent), "it is stopped")
        said = run_cli("why", living_run, "go:0").stdout
    finally:
        os.kill(agent, signal.SIGCONT)
    assert f"process {agent} (sh) is stopped (SIGSTOP): kill -CONT {agent} lets it go on" in said
    for _ in range(2):
        gate.open()
    assert run_cli("wait", living_run).returncode == 0


def test_logs_follow_an_item_until_it_ends_and_no_further(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    with beside("logs", living_run, "go:0", "-f") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "before a\n"
        gate.open()
        rest, _ = following.communicate(timeout=60)
    assert rest == "after a\nerr\n"
    assert following.returncode == 0
    gate.wait_until_reached()
    gate.open()
    assert run_cli("wait", living_run).returncode == 0


def test_logs_follow_an_item_from_before_its_start(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    with beside("logs", living_run, "go:1", "-f") as following:
        gate.open()
        gate.wait_until_reached()
        gate.open()
        said, _ = following.communicate(timeout=60)
    assert said == "before b\nafter b\nerr\n"
    assert run_cli("wait", living_run).returncode == 0


def test_logs_follow_all_that_run_each_line_behind_its_item(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    with beside("logs", "-f") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "go:0 a | before a\n"
        for _ in range(2):
            gate.open()
        said, _ = following.communicate(timeout=60)
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("go:0")] == ["go:0 a | after a", "go:0 a | err"]
    assert [line for line in lines if line.startswith("go:1")] == [f"go:1 b | {each}" for each in ("before b", "after b", "err")]
    assert run_cli("wait", living_run).returncode == 0


def test_wait_waits(living_run: str, gate: Gate) -> None:
    with beside("wait", living_run, "--json") as waiting:
        assert waiting.poll() is None
        gate.open()
        gate.wait_until_reached()
        assert waiting.poll() is None
        gate.open()
        said, _ = waiting.communicate(timeout=60)
    assert json.loads(said)["counts"] == {"succeeded": 2}
    assert waiting.returncode == 0


def test_cancel_one_item_and_the_others_go_on(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    told = run_cli("cancel", living_run, "go:a")
    assert told.returncode == 0, told.stderr
    gate.wait_until_reached()
    gate.open()
    run_cli("wait", living_run)
    statuses = run_cli("results", "--format", "csv", "--fields", "item,status").stdout.splitlines()
    assert statuses == ["item,status", "go:0,cancelled", "go:1,succeeded"]


def test_cancel_what_has_not_had_its_turn(run_cli: RunCli, gate: Gate, tmp_path: Path) -> None:
    needy = 'needs = ["go"]\nshell = "echo >> started"\n'
    jobs = f"[jobs.go]\nshell = '''{gate.script}'''\n[jobs.one]\n{needy}[jobs.many]\nfor_each = [1, 2]\n{needy}"
    (tmp_path / "needy.toml").write_text(jobs)
    assert run_cli("run", "--detach", "--run-id", "needy", "needy.toml").returncode == 0
    gate.wait_until_reached()
    assert run_cli("cancel", "needy", "one").stdout == "1 item is being cancelled\n"
    told = run_cli("cancel", "needy", "many")
    assert (told.returncode, told.stdout) == (2, "")
    assert "many of run needy has no items" in told.stderr
    gate.open()
    assert run_cli("wait", "needy").returncode == 1
    counts = {each["id"]: each["counts"] for each in json.loads(run_cli("status", "needy", "--json").stdout)["jobs"]}
    assert counts == {"go": {"succeeded": 1}, "one": {"cancelled": 1}, "many": {"succeeded": 2}}
    assert (tmp_path / "started").read_text() == "\n\n", "each of many, and not one"


def test_cancel_a_run(run_cli: RunCli, living_run: str) -> None:
    assert run_cli("cancel", living_run).returncode == 0
    assert run_cli("wait", living_run).returncode == 4
    assert run_cli("cancel", living_run).stdout == "run living is cancelled: nothing to cancel\n"


def test_stop_now_leaves_a_run_that_can_be_resumed(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    assert run_cli("stop", living_run, "--now").returncode == 0
    assert run_cli("wait", living_run).returncode == 143
    assert json.loads(run_cli("status", "--json").stdout)["status"] == "interrupted"
    for _ in range(2):
        gate.open()
    # Two items may not stand at one gate, and with one slot they do not.
    assert run_cli("resume", living_run).returncode == 0
    assert run_cli("stop", living_run).stdout == "run living has no living supervisor: nothing to stop\n"
    assert run_cli("flush", living_run).stdout == "run living has no living supervisor: nothing to flush\n"


def test_a_run_in_the_background_tells_a_mistake_before_it_begins(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    told = run_cli("run", "--detach", "--run-id", living_run, "living.toml")
    assert told.returncode == 2
    assert told.stdout == ""
    assert "run living exists already" in told.stderr
    gate.open()
    gate.wait_until_reached()
    gate.open()
    assert run_cli("wait", living_run).returncode == 0


def test_a_run_that_is_skipped_says_which_run_goes_on(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    told = run_cli("run", "--overlap", "skip", "living.toml")
    assert (told.returncode, told.stderr) == (0, f"skipped: run {living_run} of this file goes on\n")
    assert run_cli("run", "--overlap", "skip", "--quiet", "living.toml").stderr == ""
    assert run_cli("run", "--overlap", "fail", "living.toml").returncode == 75
    gate.open()
    gate.wait_until_reached()
    gate.open()
    assert run_cli("wait", living_run).returncode == 0


def test_a_run_with_other_inputs_is_no_reason_for_resume_to_wait(run_cli: RunCli, gate: Gate, tmp_path: Path) -> None:
    script = f"test {{{{ inputs.x }}}} = 2 || {{ {gate.script}; }}"
    (tmp_path / "with.toml").write_text(f"inputs.x = 0\n[jobs.go]\nshell = '''{script}'''\n")
    with beside("run", str(tmp_path / "with.toml"), "--run-id", "one", "-i", "x=1") as first:
        gate.wait_until_reached()
        assert run_cli("run", "with.toml", "-i", "x=1", "--resume").returncode == 75
        other = run_cli("run", "with.toml", "-i", "x=2", "--resume")
        assert other.returncode == 0, other.stderr
        # Whoever says what is to be done while the file runs means the file, whatever its inputs are.
        assert run_cli("run", "with.toml", "-i", "x=2", "--resume", "--overlap", "fail").returncode == 75
        gate.open()
        assert first.wait(60) == 0


def test_detach_inside_an_item_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('[jobs.one]\ncommand = ["true"]\n')
    told = run_cli("run", "--detach", "one.toml", env={"ORCHESTRATE_MARK": "r.n/one/1"})
    assert told.returncode == 2
    assert "--detach inside an item is refused" in told.stderr


def test_each_in_the_background_reads_its_lines_first(run_cli: RunCli) -> None:
    told = run_cli("each", "--detach", "--json", "--", "echo", stdin="a\nb\n")
    run_id = json.loads(told.stdout)["run_id"]
    assert run_cli("wait", run_id).returncode == 0
    assert run_cli("results", run_id, "--format", "csv", "--fields", "output").stdout.splitlines() == ["output", "a", "b"]
