"""State that is damaged or of a newer format: told, exit 2, and not a byte of it changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.run_driver import KILLED, RunDriver
from drivers.sweeps import sweep

from orchestrator.cli import main


def newer_checkpoint(run: Path) -> str:
    path = run / "checkpoint.json"
    path.write_bytes(path.read_bytes().replace(b'"format":1,', b'"format":99,', 1))
    return "format 99 is newer than this orchestrate reads"


def newer_journal(run: Path) -> str:
    import zlib

    # A newer program writes valid groups.
    header = (run / "journal-1.jsonl").read_bytes().split(b"\n")[0].replace(b'"format":1,', b'"format":99,') + b"\n"
    commit = b'{"type":"commit","generation":1,"offset":0,"crc":%d}\n' % zlib.crc32(header)
    (run / "journal-1.jsonl").write_bytes(header + commit)
    return "format 99 is newer than this orchestrate reads"


def damaged_checkpoint(run: Path) -> str:
    path = run / "checkpoint.json"
    path.write_bytes(path.read_bytes().replace(b'"name":"jobs"', b'"name":"jobz"', 1))
    return "damaged"


def cut_checkpoint(run: Path) -> str:
    path = run / "checkpoint.json"
    path.write_bytes(path.read_bytes()[:-30])
    return "damaged"


def empty_checkpoint(run: Path) -> str:
    (run / "checkpoint.json").write_bytes(b"")
    return "damaged"


def damaged_journal(run: Path) -> str:
    path = run / "journal-1.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"exit_code":0', b'"exit_code":1', 1))
    return "damaged at byte"


def missing_journal(run: Path) -> str:
    (run / "journal-1.jsonl").unlink()
    return "missing"


DAMAGES = [
    newer_checkpoint,
    newer_journal,
    damaged_checkpoint,
    cut_checkpoint,
    empty_checkpoint,
    damaged_journal,
    missing_journal,
]


def records_of(run: Path) -> dict[str, bytes]:
    """All but the lock, who holds it, and the log: words for people."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and not path.name.startswith("supervisor.")
    }


@pytest.mark.parametrize("damage", sweep(DAMAGES, quick=4))
def test_refused_and_left_as_it_is(
    driver: RunDriver, damage: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.write("[run]\nslots = 1\n[jobs.go]\nfor_each = [1, 2, 3]\nshell = 'echo {{ item }}'\n")
    assert driver.run(fault="supervisor.ending:1").exit_code() == KILLED
    told = damage(driver.run_folder)
    before = records_of(driver.run_folder)
    monkeypatch.chdir(driver.folder)
    for arguments in (
        ["resume", driver.run_id],
        ["run", "jobs.toml", "--resume", "--run-id", driver.run_id],
        ["status", driver.run_id],
        ["results", driver.run_id],
        ["cancel", driver.run_id],
    ):
        # In this process: what is refused never comes to signals, workers or threads.
        exit_code = main(arguments)
        said = capsys.readouterr().err
        assert exit_code == 2, (arguments, said)
        assert told in said, (arguments, said)
        assert "Traceback" not in said
        assert len(said.splitlines()) <= 2, said
    assert records_of(driver.run_folder) == before


def test_the_list_of_runs_goes_on_with_a_damaged_one_in_it(driver: RunDriver) -> None:
    driver.write("[jobs.go]\nshell = 'echo hello'\n")
    driver.assert_exit(driver.run(), 0)
    damaged_checkpoint(driver.run_folder)
    driver.assert_exit(driver.launch("run", "jobs.toml", "--resume"), 0)
    command = driver.launch("list")
    driver.assert_exit(command, 0)
    assert len(list((driver.home / "runs").iterdir())) == 2
