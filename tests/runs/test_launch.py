"""Which run a command means, without a run being started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import header

from orchestrator.errors import RunHeldError, UserError
from orchestrator.jobsfile.load import load_text
from orchestrator.runs import launch
from orchestrator.runs.run_requests import RunRequest
from orchestrator.store.home import launch_lock
from orchestrator.store.run_dir import RunDir, create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.system.locks.travelling import try_lock
from orchestrator.system.stop_signals import Stopper

JOBS = "[jobs.a]\ncommand = ['true']\n"


@pytest.fixture
def kept_lock(tmp_path: Path) -> Iterator[Path]:
    """The home in which some process (here this one) keeps launch.lock."""
    fd = try_lock(launch_lock(tmp_path))
    assert fd is not None
    yield tmp_path
    os.close(fd)


def launched(
    home: Path,
    stopper: Stopper | None = None,
    *,
    resume: bool = False,
    max_age: float | None = None,
    run_id: str | None = None,
) -> launch.Launched | RunDir:
    path = str(home / "jobs.toml")
    jobs_file = load_text(JOBS, path=path, folder=str(home))
    return launch.launch_run(
        home, jobs_file, {}, RunRequest(jobs_file=path, resume=resume, max_age=max_age, run_id=run_id), stopper
    )


def record_run(home: Path, run_id: str, created_at: float, folder: str) -> None:
    """A run of the file that was interrupted."""
    born = header(run_id, created_at, os.path.realpath(home / "jobs.toml"))
    RunStore.create(create_run_dir(home, run_id), msgspec.structs.replace(born, folder=folder), JOBS).close()


def test_a_launch_behind_one_that_stands_still_is_refused_and_names_it(kept_lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "LAUNCH_PATIENCE_SECONDS", 0.0)
    with pytest.raises(RunHeldError, match=rf"launch.lock: process {os.getpid()} holds it"):
        launched(kept_lock)
    monkeypatch.setattr(launch, "is_stopped", lambda _: True)
    with pytest.raises(RunHeldError, match=r"is stopped \(SIGSTOP\)") as refused:
        launched(kept_lock)
    assert refused.value.hint == f"kill -CONT {os.getpid()} lets it go on, then try again"


def test_a_launch_that_waits_for_another_hears_that_it_is_to_stop(kept_lock: Path) -> None:
    stopper = Stopper()
    stopper.stop()
    with pytest.raises(RunHeldError):
        launched(kept_lock, stopper)


def test_a_run_that_is_too_old_to_go_on_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_run(tmp_path, "old", time.time() - 100.0, str(tmp_path))
    read: list[RunDir] = []
    monkeypatch.setattr(launch, "read_history", read.append)
    launched(tmp_path, resume=True, max_age=99.0)
    assert read == []


def test_a_run_of_the_file_in_another_folder_is_other_work(tmp_path: Path) -> None:
    """One jobs file for two checkouts: while the run of the first was paused, the crontab line of the second went on with it."""
    record_run(tmp_path, "first", time.time(), "/project")
    second = launched(tmp_path, resume=True)
    assert isinstance(second, launch.Launched)
    second.lock.release()
    assert second.run_dir.run_id != "first"
    with pytest.raises(UserError, match="run first works in /project"):
        launched(tmp_path, resume=True, run_id="first")


def test_what_an_agent_has_begun_is_no_run_of_its_users_to_go_on_with_nor_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another jobs file it could say what it likes; of this one it chose the programs and the environment."""
    record_run(tmp_path, "users", time.time(), str(tmp_path))
    monkeypatch.setattr(launch, "agents_item_around", lambda: "outer/a:0")
    with pytest.raises(UserError, match="run users was begun outside of the item that asks"):
        launched(tmp_path, resume=True, run_id="users")
    its_own = launched(tmp_path, resume=True)
    assert isinstance(its_own, launch.Launched)
    assert its_own.run_dir.run_id != "users"
    assert its_own.store is not None
    its_own.store.close()
    its_own.lock.release()
    with held(launched(tmp_path, resume=True)) as again:
        assert again == its_own.run_dir
    monkeypatch.setattr(launch, "agents_item_around", lambda: "")
    with held(launched(tmp_path, resume=True)) as found:
        assert found.run_id == "users"
    with pytest.raises(UserError, match="was begun inside of item outer/a:0"):
        launched(tmp_path, resume=True, run_id=its_own.run_dir.run_id)


@contextmanager
def held(found: launch.Launched | RunDir) -> Iterator[RunDir]:
    """The run that was launched, which is held meanwhile."""
    assert isinstance(found, launch.Launched)
    yield found.run_dir
    found.lock.release()
