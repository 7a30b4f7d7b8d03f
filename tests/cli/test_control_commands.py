"""pause, set, stop --wait beside a run that goes on, without one, and inside one of the run's own items."""

from __future__ import annotations

import json
import select
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.gate import Gate
from drivers.sweeps import sweep

from orchestrator.cli import main
from orchestrator.runs.commands import cancel_dead_run
from orchestrator.store.run_dir import RunDir
from orchestrator.views.outlet import Outlet
from orchestrator.views.plain_lines import Quiet

ORCHESTRATE = [sys.executable, "-m", "orchestrator"]


def statuses(run_cli: RunCli, run_id: str) -> list[str]:
    return run_cli("results", run_id, "--format", "csv", "--fields", "status").stdout.splitlines()[1:]


def test_a_paused_run_lets_what_runs_finish_starts_nothing_more_and_goes_on_later(
    run_cli: RunCli, living_run: str, gate: Gate
) -> None:
    assert run_cli("pause", living_run).stdout.startswith("run living is being paused; 1 item")
    assert run_cli("pause", living_run).returncode == 0, "a second time is no error"
    assert "the run is being paused" in run_cli("why", living_run, "go:1").stdout
    gate.open()
    assert run_cli("wait", living_run).returncode == 3
    assert json.loads(run_cli("status", living_run, "--json").stdout)["status"] == "paused"
    told = run_cli("status", living_run).stdout
    assert "run living  living  paused" in told
    assert "go on with: orchestrate resume living" in told
    assert statuses(run_cli, living_run) == ["succeeded", "pending"]
    assert run_cli("pause", living_run).stdout == "run living has no living supervisor: nothing to pause\n"
    gate.open()
    assert run_cli("resume", living_run).returncode == 0
    assert statuses(run_cli, living_run) == ["succeeded", "succeeded"]


@pytest.mark.parametrize(("words", "exit_code"), sweep([(["pause"], 3), (["stop"], 143)], quick=1))
def test_a_stop_that_waits_returns_once_the_run_has_ended(
    run_cli: RunCli, living_run: str, gate: Gate, words: list[str], exit_code: int
) -> None:
    with subprocess.Popen([*ORCHESTRATE, *words, living_run, "--wait"], stdout=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stdout is not None
            assert select.select([waiting.stdout], [], [], 60)[0], "it did not say that the run is told"
            assert waiting.stdout.readline().startswith("run living is ")
            assert waiting.poll() is None
            gate.open()
            waiting.communicate(timeout=60)
        finally:
            waiting.kill()
    assert waiting.returncode == 0
    assert run_cli("wait", living_run).returncode == exit_code


def test_more_slots_are_used_at_once_and_kept_by_a_resume(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    assert run_cli("set", living_run, "slots=1").stdout.startswith("run living has 1 slot now")
    assert run_cli("set", living_run, "slots=2").stdout.startswith("run living has 2 slots now")
    gate.wait_until_reached()  # go:1 beside go:0
    assert run_cli("stop", living_run, "--now", "--wait").returncode == 0
    for _ in range(2):
        gate.open()
    told = run_cli("resume", living_run)
    assert (told.returncode, told.stderr.splitlines()[0]) == (0, "run living living: resumed, 2 slots")


def test_slots_are_set_for_the_resumes_of_a_run_that_nobody_supervises(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    assert run_cli("stop", living_run, "--now", "--wait").returncode == 0
    assert run_cli("set", "--last", "slots=3").stdout == (
        "run living has no living supervisor: a resume of it will have 3 slots\n"
    )
    for _ in range(2):
        gate.open()
    assert run_cli("resume", living_run).stderr.startswith("run living living: resumed, 3 slots\n")
    assert run_cli("resume", living_run, "--slots", "1").stderr.startswith("run living living: resumed, 1 slot\n")


NONSENSE = [
    (["one", "slots=0"], "slots=0: not a number of slots"),
    (["one", "slots=many"], "slots=many: not a number of slots"),
    (["one", "slots=5000"], "slots=5000: not a number of slots"),
    (["one", "slot=4"], "'slot=4' cannot be set"),
    (["one", "slots"], "'slots' cannot be set"),
    (["one"], "set what?"),
    (["slots=4"], "which run? None goes on"),
    (["--last"], "set what?"),
    (["none", "slots=4"], "no run or jobs file 'none'"),
]


def test_nonsense_is_not_set(run_cli: RunCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.toml").write_text('[jobs.one]\ncommand = ["true"]\n')
    assert run_cli("run", "--run-id", "one", "--quiet", "one.toml").returncode == 0
    for words, message in NONSENSE:
        assert main(["set", *words]) == 2, words
        told = capsys.readouterr()
        assert (told.out, told.err.startswith(f"orchestrate: {message}")) == ("", True), told.err


WAITS = ["wait own", "stop own --wait", "pause own --wait", "run own.toml --overlap wait", "resume own"]


@pytest.mark.parametrize("around", sweep(['env -i HOME="$HOME" ORCHESTRATE_HOME="$ORCHESTRATE_HOME" ', ""], quick=1))
def test_an_item_that_would_wait_for_its_own_run_is_refused_at_once(run_cli: RunCli, tmp_path: Path, around: str) -> None:
    asks = [f"{around}{shlex.join(ORCHESTRATE)} {words}" for words in WAITS]
    (tmp_path / "own.toml").write_text(
        f"[run]\nslots = 2\n[jobs.own]\nfor_each = {json.dumps(asks)}\ncontinue_on_error = true\n"
        "command = ['sh', '-c', '{{ item }}']\n"
    )
    assert run_cli("run", "--run-id", "own", "own.toml").returncode == 1
    told = json.loads(run_cli("results", "own", "--json").stdout)
    assert [each["exit_code"] for each in told] == [2] * len(WAITS)
    for each in told:
        assert "inside an item of run own is refused" in Path(each["stderr"]).read_text(), each["label"]


@pytest.mark.slow
def test_an_item_that_was_replaced_says_by_whom(run_cli: RunCli, living_run: str, gate: Gate) -> None:
    assert run_cli("cancel", living_run, "go:0", "--replaced-by", "other/x:1").returncode == 0
    gate.wait_until_reached()
    gate.open()
    run_cli("wait", living_run)
    replaced = json.loads(run_cli("results", living_run, "--json").stdout)[0]
    assert (replaced["status"], replaced["replaced_by"]) == ("cancelled", "other/x:1")
    assert "other/x:1 took its token" in run_cli("why", living_run, "go:0").stdout
    assert "--replaced-by" not in run_cli("cancel", "--help").stdout


def test_a_run_that_was_completed_before_its_cancel_came_stays_completed(run_cli: RunCli, home: Path, tmp_path: Path) -> None:
    """The command had seen it running: what it finds once it holds the run counts."""
    (tmp_path / "one.toml").write_text('[jobs.a]\ncommand = ["true"]\n')
    assert run_cli("run", "one.toml", "--run-id", "r1", "--quiet").returncode == 0
    assert cancel_dead_run(RunDir(home / "runs" / "r1"), None, Quiet(Outlet(None), "orchestrate")) is None
    assert run_cli("cancel", "r1").stdout == "run r1 is completed: nothing to cancel\n"
    assert run_cli("wait", "r1").returncode == 0


def test_a_cancel_of_an_item_that_has_ended_leaves_a_failed_run_failed(run_cli: RunCli, tmp_path: Path) -> None:
    """It became interrupted: the next `run --resume` of a crontab went on with it."""
    (tmp_path / "one.toml").write_text("[jobs.a]\ncommand = ['false']\n[jobs.b]\nneeds = ['a']\ncommand = ['true']\n")
    assert run_cli("run", "one.toml", "--run-id", "r1", "--quiet").returncode == 1
    assert run_cli("cancel", "r1", "a").stdout == "nothing to cancel: all that was named has ended, and run r1 is failed\n"
    assert run_cli("wait", "r1").returncode == 1


def test_a_cancel_of_a_pending_item_leaves_a_failed_run_failed(run_cli: RunCli, tmp_path: Path) -> None:
    """What its other items say counts: it became interrupted, without a word of the item that had failed."""
    (tmp_path / "one.toml").write_text("[jobs.a]\ncommand = ['false']\n[jobs.b]\nfor_each = [0, 1]\ncommand = ['true']\n")
    assert run_cli("run", "one.toml", "--run-id", "r1", "--quiet", "-j1").returncode == 1
    before = json.loads(run_cli("status", "r1", "--json").stdout)
    assert run_cli("cancel", "r1", "b:0").stdout == "run r1 had no living supervisor; it is failed now\n"
    after = json.loads(run_cli("status", "r1", "--json").stdout)
    assert (after["status"], after["error"]) == (before["status"], before["error"])
    assert run_cli("wait", "r1").returncode == 1
    # Its last item, too: then the run has come to an end of its own.
    assert run_cli("cancel", "r1", "b:1").stdout == "run r1 had no living supervisor; it is failed now\n"
