"""A folder of its own for the state of an agent CLI: nobody else's meanwhile, warmed once, with the user's login in it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest
from drivers.processes import pids_in, wait_until
from drivers.worker_driver import WorkerDriver, may_be_locked

from orchestrator.workers.files import config_folder
from orchestrator.workers.files.config_expiry import forget_old_state
from orchestrator.workers.files.config_folder import ConfigFolder
from orchestrator.workers.protocol import AttemptClass, ConfigTask


@pytest.fixture
def task(tmp_path: Path) -> ConfigTask:
    real = tmp_path / "real"
    real.mkdir()
    (real / "login").write_text("first")
    warm = ["/bin/sh", "-c", "echo noise; echo warm >> $STATE/warmed"]
    folder = str(tmp_path / "agents" / "fake")
    return ConfigTask(variable="STATE", folder=folder, real=str(real), is_own=True, shared=["login", "none"], warm=warm)


def test_each_attempt_at_a_time_has_its_own_folder_and_later_ones_find_it_warm(worker: WorkerDriver, task: ConfigTask) -> None:
    other = ConfigFolder.take_folder(task, None)
    script = "pwd; echo $STATE; cat $STATE/login $STATE/warmed"
    said = [worker.shell(script, config=task).stdout.inline for _ in range(2)]
    expected = f"{worker.root}\n{task.folder}/1\nfirstwarm\n".encode()
    assert said == [expected, expected]
    other.let_go()
    assert worker.shell("echo $STATE", config=task).stdout.inline == f"{task.folder}/0\n".encode()


def test_a_login_that_is_renewed_in_a_slot_is_the_users_then(worker: WorkerDriver, task: ConfigTask) -> None:
    worker.shell("echo second > $STATE/new; mv $STATE/new $STATE/login", config=task)
    login = Path(task.real, "login")
    assert login.read_text() == "second\n"
    assert os.readlink(f"{task.folder}/0/login") == str(login)


def test_a_folder_that_cannot_be_warmed_fails_the_attempt_in_words_and_the_next_tries_again(
    worker: WorkerDriver, task: ConfigTask
) -> None:
    broken = ConfigTask(variable="STATE", folder=task.folder, real=task.real, is_own=True, warm=["/bin/sh", "-c", "exit 3"])
    outcome = worker.shell("echo never", config=broken)
    assert outcome.attempt_class is AttemptClass.COMMAND_FAILED
    assert outcome.message == f"warming {task.folder}/0 (/bin/sh -c exit 3): exit code 3"
    assert worker.shell("cat $STATE/warmed", config=task).stdout.inline == b"warm\n"


def test_the_users_own_folder_is_warmed_once_for_all(worker: WorkerDriver, task: ConfigTask) -> None:
    own = ConfigTask(variable="STATE", folder=task.folder, real=task.real, warm=["/bin/sh", "-c", "echo x >> warmed"])
    for _ in range(2):
        assert worker.shell("echo ${STATE-none}", config=own).stdout.inline == b"none\n"
    assert (worker.root / "warmed").read_text() == "x\n"


def test_a_session_goes_on_in_the_folder_where_it_began(task: ConfigTask) -> None:
    first = ConfigFolder.take_folder(task, None)
    second = ConfigFolder.take_folder(task, None)
    second.note_session("its-id")
    second.note_session("../escape")
    for folder in (first, second):
        folder.let_go()
    assert ConfigFolder.take_folder(task, "its-id").path == second.path
    assert ConfigFolder.take_folder(task, "../escape").path == first.path
    assert os.listdir(f"{task.folder}/sessions") == ["its-id"]


def test_old_sessions_that_nobody_needs_go_and_then_the_folders_that_hold_none(task: ConfigTask) -> None:
    folders = [ConfigFolder.take_folder(task, None) for _ in range(5)]
    for folder in folders:
        # A folder alone takes no room in memory, where the test's folder may lie.
        Path(folder.path, "state").write_text("x" * 5000)
    for folder, session in zip(folders, ["needed", "old", "young", "of-one-that-runs"], strict=False):
        folder.note_session(session)
    folders[1].note_session("old-too")
    # An agent that renewed its login and was killed: the slot has the only good one.
    login = Path(folders[1].path, "login")
    login.unlink()
    login.write_text("renewed")
    os.utime(login, (2e9, 2e9))
    runs = folders.pop(3)
    for folder in folders:
        folder.note_warmed()
        folder.let_go()
    for path in Path(task.folder).glob("**/*"):
        os.utime(path, (1000.0, 1000.0), follow_symlinks=False)
    Path(task.folder, "sessions", "young").touch()

    def forget(*, is_dry: bool) -> tuple[set[str], list[str]]:
        found = forget_old_state(task.folder, 2000.0, {"needed"}.__contains__, is_dry=is_dry)
        assert [each.size > 0 for each in found.slots] == [True] * len(found.slots)
        return set(found.sessions), [os.path.basename(each.path) for each in found.slots]

    expected = ({"old", "old-too"}, ["1", "4"])
    assert forget(is_dry=True) == expected
    assert len(os.listdir(f"{task.folder}/sessions")) == 5
    assert forget(is_dry=False) == expected
    assert set(os.listdir(f"{task.folder}/sessions")) == {"needed", "young", "of-one-that-runs"}
    assert {path.name for path in Path(task.folder).iterdir() if path.is_dir()} == {"0", "2", "3", "sessions"}
    assert Path(task.real, "login").read_text() == "renewed"
    assert not Path(task.folder, "1.warm").exists(), "the next one is warmed again"
    assert Path(task.folder, "1.lock").exists(), "else two could hold it"
    assert forget(is_dry=False) == (set(), [])
    # One of an earlier version does not tell what of it is the user's.
    Path(task.folder, "2.links").unlink()
    os.utime(Path(task.folder, "sessions", "young"), (1000.0, 1000.0))
    assert forget(is_dry=False) == ({"young"}, [])
    assert os.path.isdir(f"{task.folder}/2")
    runs.let_go()


def test_notes_of_sessions_are_bounded(task: ConfigTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_folder, "MOST_SESSIONS", 20)
    folder = ConfigFolder.take_folder(task, None)
    for number in range(50):
        folder.note_session(f"s-{number}")
        os.utime(f"{task.folder}/sessions/s-{number}", (number, number))
    kept = os.listdir(f"{task.folder}/sessions")
    assert len(kept) <= 20
    assert {f"s-{number}" for number in range(35, 50)} <= set(kept), "the newest"


def test_a_killed_worker_lets_go_of_its_folder(worker: WorkerDriver, task: ConfigTask) -> None:
    worker.start("/bin/sh", "-c", "echo $$ > pid; exec sleep 600", config=task)
    (agent,) = pids_in(worker.root / "pid", 1)
    assert not may_be_locked(Path(task.folder, "0.lock"))
    worker.kill()
    assert not may_be_locked(Path(task.folder, "0.lock")), "the agent still uses it"
    os.kill(agent, signal.SIGKILL)
    wait_until(lambda: may_be_locked(Path(task.folder, "0.lock")), "the folder is let go")


def test_who_waits_while_another_warms_the_users_own_folder_hears_its_end(worker: WorkerDriver, task: ConfigTask) -> None:
    """It holds a slot, and perhaps a token: a warming that hangs must not keep it for ever."""
    own = msgspec.structs.replace(task, is_own=False)
    other = ConfigFolder.take_folder(own, None)
    outcome = worker.shell("echo never", config=own, timeout_seconds=0.3)
    assert (outcome.attempt_class, outcome.stdout.size) == (AttemptClass.TIMEOUT, 0)
    other.note_warmed()
    other.let_go()
    assert worker.shell("echo $0", config=own).attempt_class is AttemptClass.OK


def test_a_warm_folder_of_the_user_is_waited_for_by_nobody(task: ConfigTask) -> None:
    own = msgspec.structs.replace(task, is_own=False)
    first = ConfigFolder.take_folder(own, None)
    first.note_warmed()
    assert not ConfigFolder.take_folder(own, None).needs_warming
    first.let_go()


def test_a_renewed_login_that_is_a_link_of_the_users_is_written_where_that_leads(
    worker: WorkerDriver, task: ConfigTask, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "vault"
    elsewhere.mkdir()
    login = Path(task.real, "login")
    login.rename(elsewhere / "login")
    login.symlink_to(elsewhere / "login")
    worker.shell("echo second > $STATE/new; mv $STATE/new $STATE/login", config=task)
    assert (login.is_symlink(), (elsewhere / "login").read_text()) == (True, "second\n")
    assert (os.listdir(task.real), os.listdir(elsewhere)) == (["login"], ["login"])
