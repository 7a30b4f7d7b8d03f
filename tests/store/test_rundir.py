"""Where the state lies and how a user names a run."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import header, new_run

from orchestrator.errors import ExitCode, StateUnwritableError, UserError
from orchestrator.store import checkpoint
from orchestrator.store.home import home_folder
from orchestrator.store.known_runs import find_run, list_children, list_runs, outermost
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir, check_run_id, create_run_dir, new_run_id
from orchestrator.store.run_store import RunStore


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ORCHESTRATE_HOME", "ORCHESTRATE_WORKER", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_option_wins_over_the_environment_over_xdg_over_the_default(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_folder(None) == clean / ".local" / "state" / "orchestrate"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert home_folder(None) == clean / ".local" / "state" / "orchestrate"
    monkeypatch.setenv("XDG_STATE_HOME", str(clean / "xdg"))
    assert home_folder(None) == clean / "xdg" / "orchestrate"
    monkeypatch.setenv("ORCHESTRATE_HOME", "~/mine")
    assert home_folder(None) == clean / "mine"
    assert home_folder(str(clean / "option")) == clean / "option"
    assert (clean / "option").stat().st_mode & 0o777 == 0o700


def test_what_an_agent_starts_finds_the_home_of_its_run_by_its_workers_folder(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for told in ("relative/runs/r/workers/0", "/", "/runs/r/workers/0/more", str(clean / "walks" / "r" / "workers" / "0")):
        monkeypatch.setenv("ORCHESTRATE_WORKER", told)
        assert home_folder(None) == clean / ".local" / "state" / "orchestrate", told
    monkeypatch.setenv("ORCHESTRATE_WORKER", str(clean / "around" / "runs" / "r" / "workers" / "0"))
    assert home_folder(None) == clean / "around"
    monkeypatch.setenv("ORCHESTRATE_HOME", str(clean / "mine"))
    assert home_folder(None) == clean / "mine"


def test_our_own_home_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "runs").mkdir(parents=True)
    (home / "other").touch()
    home.chmod(0o755)
    home_folder(str(home))
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_folder_with_other_things_in_it_keeps_its_permissions_and_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "project"
    home.mkdir(mode=0o755)
    (home / "setup.py").touch()
    with pytest.raises(UserError, match="has other things in it"):
        home_folder(str(home))
    assert home.stat().st_mode & 0o777 == 0o755


def test_a_home_of_another_user_that_others_may_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    with pytest.raises(UserError, match="belongs to another user"):
        home_folder(str(home))


def test_root_leaves_the_home_of_another_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wrote there its owner could not write any more; `sudo orchestrate` keeps the HOME of whoever called it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(home, 12345, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UserError, match=r"belongs to another user .*, and this is root") as refused:
        home_folder(str(home))
    assert refused.value.hint.startswith("run it as that user, or name another folder")
    assert os.listdir(home) == []
    # Nor does it make one in the HOME of another user, unless somebody names the place.
    monkeypatch.setenv("HOME", str(home))
    for name in ("ORCHESTRATE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="and this is root"):
        home_folder(None)
    assert os.listdir(home) == []
    assert home_folder(str(home / "named")) == home / "named"


def test_a_file_cannot_be_the_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="not a folder"):
        home_folder(str(tmp_path / "file"))
    with pytest.raises(StateUnwritableError):
        home_folder(str(tmp_path / "file" / "below"))


@pytest.mark.parametrize("run_id", ["a", "nightly", "20261121-061502-x7k2", "A.b_c-d", "0", "x" * 64])
def test_good_ids(run_id: str) -> None:
    check_run_id(run_id)


@pytest.mark.parametrize("run_id", ["", ".", "..", "../x", "a/b", "a..b", "-a", ".a", "_a", "x" * 65, "a b", "a\n", "é", "a\0"])
def test_bad_ids(run_id: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be the id of a run"):
        create_run_dir(tmp_path, run_id)
    assert list(tmp_path.iterdir()) == []


def test_new_ids_are_good_and_sort_by_time_and_differ() -> None:
    now = time.time()
    early, late = new_run_id(now), new_run_id(now + 1)
    check_run_id(early)
    assert early < late
    assert len({new_run_id(now) for _ in range(50)}) > 40
    assert new_run_id(0).startswith("19700101-000000-")


def test_an_id_that_exists_is_refused_and_resume_is_named(tmp_path: Path) -> None:
    new_run(tmp_path, "nightly")
    with pytest.raises(UserError, match="nightly exists already") as caught:
        create_run_dir(tmp_path, "nightly")
    assert "--resume" in caught.value.hint
    assert caught.value.exit_code is ExitCode.USAGE


def test_what_a_killed_birth_left_is_no_run_and_its_id_is_free(tmp_path: Path) -> None:
    half = create_run_dir(tmp_path, "half")
    half.journal(1).write_text("x")
    (half.path / ".checkpoint.json.new").write_text("{")
    new_run(tmp_path, "whole")
    assert [run.run_id for run in list_runs(tmp_path)] == ["whole"]
    assert find_run(tmp_path, None).run_id == "whole"
    with pytest.raises(UserError, match="no run"):
        find_run(tmp_path, "half")
    assert new_run(tmp_path, "half") == half
    assert {run.run_id for run in list_runs(tmp_path)} == {"half", "whole"}


def test_runs_are_listed_newest_first_by_their_creation(tmp_path: Path) -> None:
    for run_id, created_at in [("b", 2.0), ("c", 3.0), ("a", 1.0)]:
        new_run(tmp_path, run_id, created_at)
    assert [run.run_id for run in list_runs(tmp_path)] == ["c", "b", "a"]
    assert find_run(tmp_path, None).run_id == "c"


def test_stray_files_among_the_runs_harm_no_reader(tmp_path: Path) -> None:
    new_run(tmp_path, "a")
    (tmp_path / "runs" / "README").touch()
    (tmp_path / "runs" / ".hidden").mkdir()
    assert [run.run_id for run in list_runs(tmp_path)] == ["a"]


def test_a_damaged_run_is_still_listed(tmp_path: Path) -> None:
    new_run(tmp_path, "a").checkpoint.write_bytes(b"\0\xff")
    assert [run.run_id for run in list_runs(tmp_path)] == ["a"]


def test_no_runs_is_told_in_words(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == []
    with pytest.raises(UserError, match="no runs yet"):
        find_run(tmp_path, None)


def test_a_run_is_found_by_its_id_or_a_unique_prefix(tmp_path: Path) -> None:
    for run_id in ("20261121-a", "20261121-ab", "20261122-c"):
        new_run(tmp_path, run_id)
    assert find_run(tmp_path, "20261121-a").run_id == "20261121-a"
    assert find_run(tmp_path, "20261122").run_id == "20261122-c"
    with pytest.raises(UserError, match=r"could be 2 runs: .*20261121-a") as caught:
        find_run(tmp_path, "20261121")
    assert "20261121-ab" in caught.value.message


def test_an_unknown_id_names_close_ones(tmp_path: Path) -> None:
    new_run(tmp_path, "nightly")
    with pytest.raises(UserError, match="no run or jobs file 'nihgtly'") as caught:
        find_run(tmp_path, "nihgtly")
    assert caught.value.hint == "did you mean nightly?"


def test_a_jobs_file_names_its_newest_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "project" / "jobs.toml"
    file.parent.mkdir()
    file.touch()
    new_run(tmp_path, "old", 1.0, str(file))
    new_run(tmp_path, "new", 2.0, str(file))
    new_run(tmp_path, "other", 3.0, "/elsewhere/jobs.toml")
    (tmp_path / "link.toml").symlink_to(file)
    monkeypatch.chdir(file.parent)
    for reference in ("jobs.toml", "./jobs.toml", str(file), str(tmp_path / "link.toml")):
        assert find_run(tmp_path, reference).run_id == "new"
    (tmp_path / "fresh.toml").touch()
    with pytest.raises(UserError, match="has no run yet"):
        find_run(tmp_path, str(tmp_path / "fresh.toml"))


def test_the_newest_run_is_found_without_a_look_into_those_that_had_ended_before_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_header = checkpoint.read_header

    def counted(path: Path) -> RunHeader:
        read.append(path.parent.name)
        return read_header(path)

    file = tmp_path / "jobs.toml"
    file.touch()
    for number in range(6):
        run_dir = new_run(tmp_path, f"r{number}", 100.0 * number, str(file))
        os.utime(run_dir.checkpoint, (0, 100 * number + 50))
    monkeypatch.setattr(checkpoint, "read_header", counted)
    for reference in (None, str(file)):
        assert find_run(tmp_path, reference).run_id == "r5"
    assert read == ["r5", "r5"]
    # One that began long ago may have gone on since.
    os.utime(RunDir.of(tmp_path, "r1").checkpoint, (0, 9000))
    assert find_run(tmp_path, None).run_id == "r5"
    assert read[2:] == ["r1", "r5"]
    read.clear()
    assert [run.run_id for run in list_runs(tmp_path, lambda each: each.run_id in ("r2", "r4"))] == ["r4", "r2"]
    assert sorted(read) == ["r2", "r4"]
    read.clear()
    assert find_run(tmp_path, "r3").run_id == "r3"
    assert read == []


@pytest.mark.parametrize("reference", ["", "../x", "../../etc", "/", ".", "..", "a/../b", "*", "x" * 5000])
def test_a_reference_never_leads_out_of_the_runs(tmp_path: Path, reference: str) -> None:
    new_run(tmp_path, "a1")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "checkpoint.json").touch()
    with pytest.raises(UserError):
        find_run(tmp_path, reference)


def test_outputs_are_spread_over_folders() -> None:
    run_dir = RunDir(Path("/r"))
    assert run_dir.output_paths("port", 1999, 2) == (
        "/r/outputs/port/1/1999-2.stdout",
        "/r/outputs/port/1/1999-2.stderr",
    )


def new_child(home: Path, run_id: str, parent: str, created_at: float) -> None:
    told = msgspec.structs.replace(header(run_id, created_at), parent=parent)
    RunStore.create(create_run_dir(home, run_id), told, "[jobs]\n").close()


def test_a_child_run_is_never_meant_when_its_parent_could_be(tmp_path: Path) -> None:
    new_run(tmp_path, "r1", created_at=1.0)
    new_child(tmp_path, "r1.go.0", "r1/go:0", 2.0)
    new_child(tmp_path, "r1.go.0.low", "r1.go.0/low", 3.0)
    assert find_run(tmp_path, None).run_id == "r1"
    assert find_run(tmp_path, "r").run_id == "r1"
    assert find_run(tmp_path, "r1.go.0.l").run_id == "r1.go.0.low"
    assert [run_dir.run_id for run_dir in list_children(tmp_path, "r1")] == ["r1.go.0", "r1.go.0.low"]
    assert outermost(find_run(tmp_path, "r1.go.0.low")).run_id == "r1"


def test_a_child_whose_parent_is_gone_is_a_run_like_any_other(tmp_path: Path) -> None:
    new_child(tmp_path, "gone.go", "gone/go", 2.0)
    assert find_run(tmp_path, None).run_id == "gone.go"


@pytest.mark.parametrize("removed", ["slots", "workers"])
def test_an_attempt_that_runs_is_seen_though_one_of_its_folders_was_removed(tmp_path: Path, removed: str) -> None:
    run_dir = RunDir(tmp_path)
    assert run_dir.attempt_locks() == []
    locks = (run_dir.slot_lock(0), run_dir.worker_folder(3) / "alive.lock")
    for path in locks:
        path.parent.mkdir(parents=True)
        path.touch()
    shutil.rmtree(tmp_path / removed)
    assert run_dir.attempt_locks() == [path for path in locks if path.exists()] != []
