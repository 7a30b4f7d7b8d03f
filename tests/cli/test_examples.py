"""Every shipped example runs as it is, in a folder of its own, and does what its comment says."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import RunCli
from drivers.git_repository import forget_configuration

from orchestrator.cli import main
from orchestrator.system.shipped_files import examples_folder

EXAMPLES = sorted(path.stem for path in examples_folder().glob("*.toml"))


@pytest.fixture(autouse=True)
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent `demo` keeps its sessions in the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with all examples, as `init` would leave them, and two Python files, one of which does not compile."""
    copied = tmp_path / "project"
    shutil.copytree(examples_folder(), copied, ignore=shutil.ignore_patterns("out"))
    (copied / "good.py").write_text("print(1)\nprint(2)\n")
    (copied / "bad.py").write_text("print(\n")
    return copied


def results(run_cli: RunCli, folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """The run's results by item."""
    told = run_cli("results", f"{name}.toml", "--json", cwd=folder)
    assert told.returncode == 0, told.stderr
    return {result["item"]: result for result in json.loads(told.stdout)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_has_no_mistakes_and_says_how_to_run_it(
    name: str, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["check", "--home", str(home), f"{name}.toml"]) == 0, capsys.readouterr().err
    assert f"orchestrate run {name}.toml" in (folder / f"{name}.toml").read_text()


AGENTS = {"agents-fan-out", "agents-check", "agents-summary", "agents-worktrees"}
LOOKED_AT = {"quickstart", "retry", "creates", "matrix", "tokens", "chain", "gate"} | AGENTS
"""Run below, each by a test that looks at what it does."""


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - LOOKED_AT))
def test_an_example_runs_as_it_is(name: str, folder: Path, run_cli: RunCli) -> None:
    ran = run_cli("run", f"{name}.toml", "--quiet", cwd=folder)
    assert ran.returncode == 0, ran.stderr


def test_quickstart_names_the_file_that_does_not_compile_and_sums_up_the_rest(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "quickstart.toml", "--quiet", cwd=folder).returncode == 1
    found = results(run_cli, folder, "quickstart")
    failed = {result["label"] for result in found.values() if result["status"] == "failed"}
    assert failed == {"./bad.py"}
    summary = run_cli("logs", "quickstart.toml", "summary", cwd=folder)
    assert "1 files compile, 2 lines" in summary.stdout


def test_retry_gives_the_flaky_job_its_third_attempt_and_tolerates_one_page(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "retry.toml", "--quiet", cwd=folder).returncode == 0
    found = results(run_cli, folder, "retry")
    assert (found["flaky"]["status"], found["flaky"]["attempts"]) == ("succeeded", 3)
    assert (found["fetch:3"]["status"], found["fetch:3"]["attempts"]) == ("failed", 2)
    assert found["alarm"]["status"] == "skipped"


def test_creates_makes_only_what_is_missing(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "creates.toml", "--quiet", cwd=folder).returncode == 0
    made = {path.name: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    assert set(made) == {f"{name}.toml.gz" for name in EXAMPLES}
    (folder / "out" / "chain.toml.gz").unlink()
    assert run_cli("run", "creates.toml", "--quiet", cwd=folder).returncode == 0
    again = {path.name: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    assert {name for name in made if made[name] != again[name]} == {"chain.toml.gz"}


def test_matrix_has_every_combination_and_batches_of_two(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "matrix.toml", "--quiet", cwd=folder).returncode == 0
    found = results(run_cli, folder, "matrix")
    assert found["compress:1"]["label"] == "zlib 1000"
    assert sum(result["job"] == "compress" for result in found.values()) == 9
    assert sum(result["job"] == "count" for result in found.values()) == len(EXAMPLES) // 2 + len(EXAMPLES) % 2


def test_tokens_fetches_each_page_once(folder: Path, run_cli: RunCli) -> None:
    fetched = folder / "out" / "fetched"
    assert run_cli("run", "tokens.toml", "--quiet", cwd=folder).returncode == 0
    assert sorted(fetched.read_text().split()) == ["about", "index", "news"]
    found = results(run_cli, folder, "tokens")
    assert [found[f"fetch:{index}"]["output"] for index in (0, 2)] == ["the page index"] * 2
    assert found["fetch:2"]["deduped_from"] is not None
    assert len({found[f"sizes:{index}"]["output"] for index in (1, 4)}) == 1
    assert run_cli("run", "tokens.toml", "--quiet", cwd=folder).returncode == 0
    assert len(fetched.read_text().split()) == 3, "the second run replays"
    assert run_cli("run", "tokens.toml", "--quiet", "--fresh", cwd=folder).returncode == 0
    assert len(fetched.read_text().split()) == 6, "a fresh one fetches again"


def test_chain_reports_in_the_order_of_its_items(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "chain.toml", "--quiet", cwd=folder).returncode == 0
    report = run_cli("logs", "chain.toml", "report", cwd=folder).stdout
    assert [line.split()[0] for line in report.splitlines()] == ["ada", "grace", "edsger", "barbara"]


def test_table_takes_rows_with_hostile_values(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "table.toml", "--quiet", cwd=folder).returncode == 0
    found = results(run_cli, folder, "table")
    assert found["greet:2"]["output"] == "Hello L'Aquila in IT"
    assert found["area:1"]["output"] == "60"


def test_loop_comes_nearer_with_each_round(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "loop.toml", "--quiet", "-i", "number=144", cwd=folder).returncode == 0
    assert run_cli("logs", "loop.toml", "tell", cwd=folder).stdout == "the root of 144 is 12.000000\n"


def test_gate_pauses_and_goes_back_to_the_draft_with_what_was_said(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "gate.toml", "--quiet", cwd=folder).returncode == 3
    rejected = run_cli("approve", "--last", "ship", "--choice", "reject", "--message", "name the year", "--resume", cwd=folder)
    assert rejected.returncode == 3
    assert run_cli("approve", "--last", "ship", "--resume", cwd=folder).returncode == 0
    assert run_cli("logs", "gate.toml", "send", cwd=folder).stdout == "sent: Dear all, the report is done. name the year\n"


def test_agents_fan_out_over_files_and_tell_what_they_cost(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "agents-fan-out.toml", "--quiet", cwd=folder).returncode == 0
    found = results(run_cli, folder, "agents-fan-out")
    assert {result["label"] for result in found.values()} == {f"{name}.toml" for name in AGENTS}
    assert all(result["output"].startswith(f"{result['label']}: ") and result["cost_usd"] > 0 for result in found.values())


def test_agents_are_told_what_their_check_said_and_pass_it_then(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "agents-check.toml", "--quiet", cwd=folder).returncode == 0
    found = results(run_cli, folder, "agents-check")
    assert [found[f"greet:{index}"]["attempts"] for index in (0, 1)] == [2, 2]
    assert found["greet:0"]["session_id"] != found["greet:1"]["session_id"]
    first = run_cli("logs", "agents-check.toml", "greet:1", "--attempt", "1", cwd=folder).stdout.splitlines()
    assert [line.split()[0] for line in first] == ["[tool]", "wrote", "[end]", "[check]", "[check]"]


def test_one_agent_sums_up_what_the_others_said(folder: Path, run_cli: RunCli) -> None:
    assert run_cli("run", "agents-summary.toml", "--quiet", cwd=folder).returncode == 0
    raw = run_cli("capsule", "agents-summary.toml", "-o", "said.tar.gz", cwd=folder)
    assert raw.returncode == 0, raw.stderr
    with tarfile.open(folder / "said.tar.gz") as archive:
        told = archive.extractfile("attempts/sum_up/0-1/told")
        assert told is not None
        assert told.read().decode().count("lines, ") == len(AGENTS)


def test_agents_work_in_worktrees_and_what_they_did_is_merged(
    folder: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget_configuration(monkeypatch, tmp_path)
    for line in ("init -q -b main", "add .", "-c user.name=a -c user.email=a@localhost commit -qm begin"):
        subprocess.run(["git", *line.split()], cwd=folder, check=True, timeout=60)
    assert run_cli("run", "agents-worktrees.toml", "--quiet", cwd=folder).returncode == 0
    assert not (folder / "notes").exists()
    landed = run_cli("land", "agents-worktrees.toml", cwd=folder)
    assert landed.returncode == 0, landed.stderr
    assert sorted(path.name for path in (folder / "notes").iterdir()) == ["one.md", "three.md", "two.md"]
