"""prune and doctor: what is old goes, what is alive stays, what was left behind is found."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
from drivers.command_line import RunCli
from drivers.fake_agents import Witness
from drivers.gate import Gate

from orchestrator.cli import checkup
from orchestrator.engines.orphans import find_orphans, innermost_run
from orchestrator.store.made_of import MadeOf, encode_made_of
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.command_line import worker_told

QUICK = '[jobs.one]\ncommand = ["true"]\n'
FAILING = '[jobs.one]\ncommand = ["false"]\n'
PATIENCE_SECONDS = 20.0


@pytest.fixture
def two_runs(run_cli: RunCli, tmp_path: Path) -> None:
    """A run `good` that completed and a run `bad` that failed."""
    (tmp_path / "good.toml").write_text(QUICK)
    (tmp_path / "bad.toml").write_text(FAILING)
    assert run_cli("run", "good.toml", "--run-id", "good").returncode == 0
    assert run_cli("run", "bad.toml", "--run-id", "bad").returncode == 1


@pytest.fixture
def dead_supervisor(run_cli: RunCli, gate: Gate, tmp_path: Path, home: Path) -> int:
    """A run `left` whose supervisor was killed while its one item stands at the gate; the pid of the item's worker."""
    (tmp_path / "left.toml").write_text(f"[jobs.go]\nshell = '''{gate.script}'''\n")
    assert run_cli("run", "--detach", "--run-id", "left", "left.toml").returncode == 0
    gate.wait_until_reached()
    supervisor = psutil.Process(json.loads((home / "runs" / "left" / "supervisor.json").read_text())["pid"])
    worker = next(child.pid for child in supervisor.children() if worker_told(child.cmdline()))
    supervisor.kill()
    psutil.wait_procs([supervisor], timeout=PATIENCE_SECONDS)
    return int(worker)


def runs_of(home: Path) -> set[str]:
    return {path.name for path in (home / "runs").iterdir()}


@pytest.mark.usefixtures("two_runs")
def test_prune_says_what_it_would_remove_and_then_removes_it(run_cli: RunCli, home: Path) -> None:
    note = home / "made" / "ab" / "note.json"
    note.parent.mkdir(parents=True)
    note.write_bytes(encode_made_of(MadeOf(work="w", sources=[], files=[str(home / "gone")])))
    assert run_cli("prune", "--older-than", "1h").stdout == "0 runs, 0 B freed\n"
    told = run_cli("prune", "--older-than", "0s", "--dry-run").stdout
    assert "1 note of made files that are gone would be forgotten" in told
    assert "would remove good (completed, " in told
    assert "would remove bad (failed, " in told
    assert runs_of(home) == {"good", "bad"}
    removed = json.loads(run_cli("prune", "--older-than", "0s", "--keep-failed", "--json").stdout)
    assert [(each["run_id"], each["status"]) for each in removed] == [("good", "completed"), (None, f"note {note}")]
    assert not note.exists()
    assert removed[0]["bytes"] > 0
    assert runs_of(home) == {"bad"}


@pytest.mark.usefixtures("two_runs")
def test_prune_leaves_what_it_cannot_read(run_cli: RunCli, home: Path) -> None:
    (home / "runs" / "bad" / "checkpoint.json").write_text('{"format":99}\n')
    run_cli("prune", "--older-than", "0s")
    assert runs_of(home) == {"bad"}


def test_prune_removes_what_a_kill_left_of_a_run_that_never_began(
    run_cli: RunCli, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good.toml").write_text(QUICK)
    monkeypatch.setenv("ORCHESTRATE_FAULT", "file.written:1")
    assert run_cli("run", "good.toml", "--run-id", "half").returncode < 0
    monkeypatch.delenv("ORCHESTRATE_FAULT")
    assert run_cli("list").stdout == ""
    assert runs_of(home) == {"half"}
    assert "removed half (never began, " in run_cli("prune", "--older-than", "0s").stdout
    assert runs_of(home) == set()


def test_prune_removes_nothing_that_a_link_leads_to(run_cli: RunCli, home: Path, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(QUICK)
    assert run_cli("run", "good.toml", "--run-id", "good").returncode == 0
    (home / "runs" / "good").rename(tmp_path / "elsewhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    # A run on another disk, and something that is no run at all.
    for name, target in (("good", "elsewhere"), ("half", "other")):
        (home / "runs" / name).symlink_to(tmp_path / target)
    for dry_run in (["--dry-run"], []):
        told = run_cli("prune", "--older-than", "0s", *dry_run)
        assert told.stdout.startswith("0 runs, ")
        assert f"good is left: {home}/runs/good is a link to {tmp_path}/elsewhere; remove both by hand" in told.stderr
    assert runs_of(home) == {"good", "half"}
    assert (tmp_path / "elsewhere" / "checkpoint.json").exists()
    assert os.listdir(tmp_path / "other") == ["mine"]


@pytest.mark.slow
def test_prune_leaves_a_run_whose_attempt_outlives_its_supervisor(
    run_cli: RunCli, home: Path, dead_supervisor: int, gate: Gate
) -> None:
    for dry_run in (["--dry-run"], []):
        # Somebody has removed the lock of its slot beside it: its worker's tells as much.
        if not dry_run:
            shutil.rmtree(home / "runs" / "left" / "slots")
        told = run_cli("prune", "--older-than", "0s", *dry_run)
        assert told.stderr == "note: left is left: an attempt of it still runs\n"
        assert told.stdout.startswith("0 runs, ")
        assert runs_of(home) == {"left"}
    assert run_cli("wait", "left").returncode == 130
    assert "interrupted, and can be resumed: left" in run_cli("doctor").stdout
    gate.open()
    psutil.wait_procs([psutil.Process(dead_supervisor)], timeout=PATIENCE_SECONDS)
    assert "removed left (interrupted, " in run_cli("prune", "--older-than", "0s").stdout


def test_orphans_are_listed_and_ended_once_their_worker_is_dead_too(run_cli: RunCli, home: Path, dead_supervisor: int) -> None:
    assert run_cli("doctor", "--orphans").stdout == "no orphans\n", "the worker lives and will end what it started"
    worker = psutil.Process(dead_supervisor)
    worker.kill()
    psutil.wait_procs([worker], timeout=PATIENCE_SECONDS)
    found = json.loads(run_cli("doctor", "--orphans", "--json").stdout)
    assert found
    assert all(each["mark"].startswith("left.") and each["mark"].endswith("/go/1") for each in found)
    assert run_cli("doctor", "--orphans", "--kill").stdout.count("  ended\n") == len(found)
    assert find_orphans(home) == []


@pytest.mark.parametrize(
    ("mark", "run"),
    [("r.n/one/1", "r.n"), ("outer.n/go:3/2/inner.m/one/1", "inner.m"), ("", ""), ("r.n", "")],
)
def test_an_orphan_belongs_to_the_innermost_run_of_its_mark(mark: str, run: str) -> None:
    assert innermost_run(mark) == run


@pytest.mark.usefixtures("two_runs")
def test_doctor_finds_nothing_wrong_with_a_good_machine(run_cli: RunCli, home: Path) -> None:
    told = run_cli("doctor", "--json")
    findings = {each["check"]: each for each in json.loads(told.stdout)}
    assert told.returncode == 0
    assert {findings[check]["level"] for check in ("python", "msgspec", "privacy", "state folder", "locks")} == {"ok"}
    assert sorted(os.listdir(home)) == ["launch.lock", "runs"], "the examination leaves nothing behind"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_in_words(number: int, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_fd: int) -> bool:
        raise OSError(number, os.strerror(number))

    home.mkdir(mode=0o700)
    monkeypatch.setattr(checkup, "lock_descriptor", refuses)
    finding = next(each for each in checkup.examine(home) if each.check == "locks")
    assert finding.level == "bad"
    assert errno.errorcode[number] in finding.message
    assert "set ORCHESTRATE_HOME" in finding.message


def test_doctor_tells_who_uses_a_pool(home: Path) -> None:
    folder = home / "pools" / "api"
    folder.mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    (folder / "0.lock").write_text("r1/port:3 r1.n/port:3/1")
    (folder / "1.lock").write_text("r2/dead r2.n/dead/1")
    (folder / "starts.lock").touch()
    held = try_lock(folder / "0.lock")
    assert held is not None
    found = [each for each in checkup.examine(home) if each.check in ("pools", "locks")]
    os.close(held)
    assert [(each.level, each.message) for each in found] == [
        ("ok", f"work on the file system of {home}"),
        ("ok", "api: 1 slot in use, by r1/port:3"),
    ]


def test_a_read_only_home_is_told_in_words(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(path: str | Path, *_arguments: Any, **_options: Any) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def refuses_below_home(path: str | Path, *arguments: Any, **options: Any) -> int:
        # What is only read, as profiles are, lies elsewhere.
        return refuses(path) if str(path).startswith(str(home)) else opens(path, *arguments, **options)

    opens = os.open
    home.mkdir(mode=0o700)
    monkeypatch.setattr("os.open", refuses_below_home)
    monkeypatch.setattr("pathlib.Path.unlink", refuses)
    findings = {each.check: each for each in checkup.examine(home)}
    for check in ("state folder", "locks"):
        assert findings[check].level == "bad"
        assert "Read-only file system" in findings[check].message


def test_a_file_system_that_gives_a_lock_twice_is_found_out(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir(mode=0o700)
    monkeypatch.setattr(checkup, "lock_descriptor", lambda _fd: True)
    finding = next(each for each in checkup.examine(home) if each.check == "locks")
    assert (finding.level, "gives one lock to two at once" in finding.message) == ("bad", True)


def test_prune_forgets_sessions_that_no_run_could_go_on_in_and_folders_of_agents_without_any(
    run_cli: RunCli, home: Path, tmp_path: Path, witness: Witness
) -> None:
    (tmp_path / "ask.toml").write_text('[jobs.ask]\nagent = "fake"\nprompt = "fake: ok"\n')
    assert run_cli("run", "ask.toml", "--run-id", "asked").returncode == 0
    session = witness.prompts()[0]["session"]
    slots = home / "agents" / "opencode"
    for number, sessions in enumerate([[session], ["gone"], []]):
        (slots / str(number)).mkdir(parents=True)
        (slots / f"{number}.lock").touch()
        (slots / f"{number}.links").write_text('{"real": "", "shared": []}')
        for each in sessions:
            (slots / "sessions").mkdir(exist_ok=True)
            (slots / "sessions" / each).write_text(str(number))
    unknown = home / "agents" / "unheard-of" / "0"
    unknown.mkdir(parents=True)
    for path in slots.glob("**/*"):
        os.utime(path, (1000.0, 1000.0))

    def left() -> set[str]:
        return {str(path.relative_to(slots)) for path in slots.glob("**/*") if path.suffix not in (".lock", ".links")}

    told = run_cli("prune", "--older-than", "1h", "--dry-run")
    assert "opencode: 1 session and 2 folders (0 B) would be forgotten" in told.stdout.splitlines()
    assert f"note: {unknown} is left: an earlier version made it" in told.stderr
    assert left() == {"0", "1", "2", "sessions", f"sessions/{session}", "sessions/gone"}
    removed = json.loads(run_cli("prune", "--older-than", "1h", "--json").stdout)
    assert [(each["agent"], each["status"]) for each in removed] == [
        ("opencode", "session gone"),
        ("opencode", str(slots / "1")),
        ("opencode", str(slots / "2")),
    ]
    assert left() == {"0", "sessions", f"sessions/{session}"}
    os.utime(slots / "0.lock", (1000.0, 1000.0))
    run_cli("prune", "--older-than", "0s")
    assert left() == {"sessions"}, "its run is gone, too"
