"""Under `umask 000`: what we keep is ours alone to write, and what a job starts has the umask of its user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator import run

JOBS = """
[run]
slots = 0
[jobs.a]
shell = "umask; echo kept > out; head -c 6000 /dev/zero"
workspace = "temp"
artifacts = ["out"]
check = "true"
[jobs.b]
shell = "test -s {{ jobs.a.results_file }}; umask"
"""


def test_no_file_of_a_run_can_be_written_by_others_whatever_the_umask(home: Path, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    before = os.umask(0)
    try:
        result = run(tmp_path / "jobs.toml", home=home, signals=False)
    finally:
        os.umask(before)
    assert result.status == "completed"
    ours = [path for path in home.rglob("*") if "workspaces" not in path.parts]
    assert {path.name for path in ours} > {"checkpoint.json", "out", "0-1.stdout", "a.json"}
    assert [str(path) for path in ours if path.lstat().st_mode & 0o022] == []
    assert (home / "runs" / result.run_id / "outputs" / "b" / "0" / "0-1.stdout").read_text() == "0000\n"


@pytest.mark.usefixtures("home")
def test_a_file_that_a_user_names_can_be_read_by_others_and_not_written(tmp_path: Path) -> None:
    from orchestrator.cli.output import new_file, replaced

    before = os.umask(0)
    try:
        new_file(tmp_path / "new").close()
        with replaced(str(tmp_path / "replaced")) as file:
            file.write(b"x")
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "replaced")} == {0o644}
