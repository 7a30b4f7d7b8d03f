"""`doctor --salvage RUN`: a run whose journal is damaged in the middle goes on with what is whole, and nothing is thrown away."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.processes import wait_until
from drivers.run_driver import KILLED, RunDriver
from drivers.sweeps import sweep

from orchestrator.cli import main
from orchestrator.errors import ExitCode
from orchestrator.store.run_dir import RunDir
from orchestrator.store.salvage import read_whole

Cli = Callable[..., tuple[int, str]]
ITEMS = [f"go:{index}" for index in range(6)]


@pytest.fixture
def cli(driver: RunDriver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    def call(*words: str) -> tuple[int, str]:
        monkeypatch.chdir(driver.folder)
        capfd.readouterr()
        code = main(list(words))
        told = capfd.readouterr()
        return code, told.out + told.err

    return call


@pytest.fixture
def journal(driver: RunDriver) -> Path:
    """Of a run that was killed when all its items had succeeded, so that no checkpoint has them."""
    driver.write(f"[run]\nslots = 2\n[jobs.go]\nfor_each = [1, 2, 3, 4, 5, 6]\nshell = '''{driver.witnessed()}'''\n")
    assert driver.run(fault="supervisor.ending:1").exit_code() == KILLED
    driver.assert_each_ran_once(ITEMS)
    # They have yet to see that their supervisor is gone, and what they hold is held till then.
    wait_until(lambda: not driver.living_workers(), "the workers have gone")
    return driver.run_folder / "journal-1.jsonl"


def remove_line(journal: Path, number: int) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))


@pytest.mark.parametrize("step", sweep([7, 1], quick=1))
def test_a_run_with_a_hole_in_its_journal_goes_on_and_repeats_nothing(
    driver: RunDriver, journal: Path, cli: Cli, step: int
) -> None:
    """Whichever line is taken out: what its group told stands in the logs of the workers, too."""
    backup = driver.folder / "backup"
    shutil.copytree(driver.run_folder, backup, ignore=shutil.ignore_patterns("*.sock"))
    count = len(journal.read_bytes().splitlines())
    for number in range(2, count - 1, step):
        shutil.rmtree(driver.run_folder)
        shutil.copytree(backup, driver.run_folder)
        remove_line(journal, number)
        damaged, checkpoint = journal.read_bytes(), (driver.run_folder / "checkpoint.json").read_bytes()
        code, said = cli("resume", driver.run_id)
        assert code == 2, said
        # It is shown first, and nothing is changed.
        code, said = cli("doctor", "--salvage", driver.run_id)
        assert code == ExitCode.FAILED, said
        assert "lost: bytes " in said
        assert (journal.read_bytes(), (driver.run_folder / "checkpoint.json").read_bytes()) == (damaged, checkpoint)
        code, said = cli("doctor", "--salvage", driver.run_id, "--yes", "--json")
        assert code == 0, said
        kept = json.loads(said)["kept"]
        assert [(driver.run_folder / name).read_bytes() for name in kept] == [checkpoint, damaged]
        assert cli("doctor", "--salvage", driver.run_id) == (
            0,
            f"run {driver.run_id} can be read: nothing is to be salvaged\n",
        )
        code, said = cli("resume", driver.run_id)
        assert code == 0, said
        driver.assert_each_ran_once(ITEMS)
        assert [result["status"] for result in driver.results()] == ["succeeded"] * 6, number
        assert all((driver.run_folder / name).exists() for name in kept), "they stay"


def test_what_no_log_has_any_more_runs_again_and_all_else_does_not(driver: RunDriver, journal: Path, cli: Cli) -> None:
    [place] = [n for n, line in enumerate(journal.read_bytes().splitlines()) if b'"end"' in line and b'"index":3' in line]
    before = read_whole(RunDir(driver.run_folder)).history.jobs["go"].counts()["succeeded"]
    remove_line(journal, place)
    for log in driver.run_folder.glob("workers/*/log"):
        log.write_bytes(b"")
    assert cli("doctor", "--salvage", driver.run_id, "--yes")[0] == 0
    left = driver.results()
    lost = [result["item"] for result in left if result["status"] != "succeeded"]
    assert before == 6
    assert "go:3" in lost
    assert len(lost) < 4
    code, said = cli("resume", driver.run_id)
    assert code == 0, said
    assert driver.acts("begin") == {item: 2 if item in lost else 1 for item in ITEMS}


def test_a_missing_journal_leaves_what_the_checkpoint_tells(driver: RunDriver, journal: Path, cli: Cli) -> None:
    journal.unlink()
    code, said = cli("doctor", "--salvage", driver.run_id)
    assert code == 1
    assert "lost: the whole journal" in said
    assert cli("doctor", "--salvage", driver.run_id, "--yes")[0] == 0
    assert cli("resume", driver.run_id)[0] == 0


def test_a_damaged_checkpoint_is_not_salvaged(driver: RunDriver, journal: Path, cli: Cli) -> None:
    path = journal.with_name("checkpoint.json")
    path.write_bytes(path.read_bytes().replace(b'"name":"jobs"', b'"name":"jobz"', 1))
    code, said = cli("doctor", "--salvage", driver.run_id, "--yes")
    assert code == 2
    assert "nothing that the checkpoint tells can be trusted" in said
