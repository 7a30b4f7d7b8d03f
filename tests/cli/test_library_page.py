"""What docs/library.md shows works: its programs run as they stand, say what they promise, and are typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "library.md").read_text("utf-8")
(JOBS_FILE,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
LIMIT_SECONDS = 60


def run_program(text: str, folder: Path, *, jobs_file: str = JOBS_FILE) -> subprocess.CompletedProcess[str]:
    (folder / "jobs.toml").write_text(jobs_file)
    for number in range(1, 4):
        (folder / f"page{number}.txt").write_text("word " * number)
    (folder / "program.py").write_text(text)
    argv = [sys.executable, "program.py"]
    path = f"{Path(__file__).resolve().parents[2]}"  # the program's own folder stands first on its path, not the checkout
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)


@pytest.mark.usefixtures("home")
def test_the_first_program_counts_the_words_of_each_page(tmp_path: Path) -> None:
    ran = run_program(PROGRAMS[0], tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == "completed 0 {'page1.txt': 1, 'page2.txt': 2, 'page3.txt': 3}\n"


@pytest.mark.usefixtures("home")
def test_the_first_program_tells_all_mistakes_and_what_fails(tmp_path: Path) -> None:
    mistaken = run_program(PROGRAMS[0], tmp_path, jobs_file='[jobs.count]\nshel = "x"\n')
    assert mistaken.returncode == 1
    assert "jobs.count.shel: unknown key; did you mean shell?" in mistaken.stderr
    assert "inputs: pattern: no such input" not in mistaken.stderr
    failed = run_program(PROGRAMS[0], tmp_path, jobs_file=JOBS_FILE.replace("wc -w", "test {{ item }} != page2.txt && wc -w"))
    assert failed.stdout == "failed 1 {'page1.txt': 1, 'page3.txt': 3}\n"
    assert failed.stderr == "failed: count:1 exit code 1\n"


@pytest.mark.usefixtures("home")
def test_the_program_with_a_stopper_stops_and_goes_on(tmp_path: Path) -> None:
    ran = run_program(PROGRAMS[1], tmp_path)
    assert (ran.stdout, ran.stderr) == ("interrupted 143\ncompleted\n", "")


@pytest.mark.usefixtures("home")
def test_the_program_with_asyncio_drains_when_its_time_is_up(tmp_path: Path) -> None:
    """However slow the machine is: an item takes longer than the program waits."""
    ran = run_program(PROGRAMS[2], tmp_path, jobs_file=JOBS_FILE.replace("wc -w", "sleep 0.5; wc -w"))
    assert (ran.stdout, ran.stderr) == ("stopped: interrupted\n", "")


@pytest.mark.usefixtures("home")
def test_the_program_with_values_of_its_own_runs_looks_on_and_tries_again(tmp_path: Path) -> None:
    ran = run_program(PROGRAMS[3], tmp_path)
    told = ran.stdout.splitlines()
    assert (told[0], told[-1], ran.stderr) == ("failed [1, 2, None]", "completed", "")
    assert (told[1], told[-2]) == ("RunBegan", "RunFinished")


@pytest.mark.slow
def test_the_programs_are_typed_for_who_uses_the_package(tmp_path: Path) -> None:
    for number, text in enumerate(PROGRAMS):
        (tmp_path / f"program{number}.py").write_text(text)
    (tmp_path / "mistake.py").write_text("from orchestrator import run\n\nrun(3).results[0].exit_code + 'x'\n")
    argv = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "."]
    environment = os.environ | {"MYPYPATH": str(Path(__file__).resolve().parents[2])}
    found = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    mistakes = [line for line in found.stdout.splitlines() if ": error:" in line]
    assert mistakes, found.stdout + found.stderr
    assert all(line.startswith("mistake.py:3:") for line in mistakes), found.stdout
