"""What `list` reads of each of many runs."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import header

from orchestrator.cli.entry import main
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.store.kept_summary import keep_summary
from orchestrator.store.records import RunEnded
from orchestrator.store.run_dir import create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.system.locks.holders import SeenLocks
from orchestrator.workers.files import opening

RUNS = 12


def ended_run(home: Path, number: int) -> None:
    """Each third one is a child of the one before."""
    run_dir = create_run_dir(home, f"r{number:03}")
    parent = f"r{number - 1:03}/a" if number % 3 == 2 else None
    head = msgspec.structs.replace(header(run_dir.run_id, created_at=float(number)), parent=parent)
    store = RunStore.create(run_dir, head, "[jobs]\n")
    store.append([RunEnded(status="completed", at=9.0)])
    store.take_checkpoint()
    run_dir.supervisor_lock.touch()
    keep_summary(run_dir, store.history, run_summary(RunReader(run_dir, store.history, alive=False)))
    store.close()


def test_of_each_run_its_summary_alone_is_read_once_and_all_locks_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for number in range(RUNS):
        ended_run(home, number)
    opened: Counter[str] = Counter()
    open_found, see_locks = opening.open_found, SeenLocks.__init__

    def counted(path: str | os.PathLike[str], flags: int, mode: int = 0o600) -> tuple[int, os.stat_result]:
        opened[os.path.basename(path)] += 1
        return open_found(path, flags, mode)

    def counted_locks(self: SeenLocks) -> None:
        opened["locks"] += 1
        see_locks(self)

    monkeypatch.setattr(opening, "open_found", counted)
    monkeypatch.setattr(SeenLocks, "__init__", counted_locks)
    assert main(["--home", str(home), "list", "--all", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)] == [
        f"r{number:03}" for number in (10, 11, 9, 7, 8, 6, 4, 5, 3, 1, 2, 0)
    ]
    # On a machine with many locks each is tried.
    del opened["supervisor.lock"]
    assert opened == {"summary.json": RUNS, "locks": 1}
    opened.clear()
    # Of a run without a summary all is read, and its header tells its place.
    (home / "runs" / "r003" / "summary.json").unlink()
    assert main(["--home", str(home), "list", "--all", "--json"]) == 0
    assert [run["run_id"] for run in json.loads(capsys.readouterr().out)][8] == "r003"
    assert opened["checkpoint.json"] >= 1
    opened.clear()
    assert main(["--home", str(home), "status", "r005", "--json"]) == 0
    assert opened["checkpoint.json"] <= 2, "a run that is named is found without the others"
