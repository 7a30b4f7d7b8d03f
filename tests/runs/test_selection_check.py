"""Patterns that match nothing, found out before a run begins: each job is looked at once, however many there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.attempts.items import foreseen
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.model import Job
from orchestrator.runs import selection_check
from orchestrator.runs.selection_check import check_selection
from orchestrator.store.settings_records import Selection


@pytest.mark.parametrize("count", [10, 100])
def test_a_check_looks_at_each_job_so_many_times_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    first = '[jobs.j0]\nfor_each = ["a", "b"]\nlabel = "name of {{ item }}"\ncommand = ["true"]\n'
    rest = (f'[jobs.j{n}]\nfor_each = {{ job = "j0" }}\ncommand = ["true"]\n' for n in range(1, count))
    jobs_file = load_text(first + "".join(rest), path=str(tmp_path / "jobs.toml"), folder=str(tmp_path))
    looks = 0

    def chain_of(job: Job) -> tuple[str, ...]:
        nonlocal looks
        looks += 1
        return real(job)

    real = selection_check.chain_of
    for module in (selection_check, foreseen):
        monkeypatch.setattr(module, "chain_of", chain_of)
    check_selection(Selection(only=("j0:name of b",)), jobs_file, {})
    assert looks <= 10 * count
