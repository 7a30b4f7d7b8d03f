"""What no file of the repository may name: a machine's own paths, or the host of a package registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Written so that this file does not name them either.
REGISTRY_HOSTS = [r"py" + r"pi\.(org|io)", r"python" + r"hosted\.org", r"anaconda" + r"\.org", r"registry\." + r"npmjs"]
OWN_PATHS = [r"work/\w", r"root\b", r"home/\w", r"Users/\w", r"opt/\w", r"tmp/(venv|team)\b"]
# One pattern each, and each begins with letters of its own: a search for both at once tries all of them at each letter.
REFUSED = (re.compile("|".join(REGISTRY_HOSTS)), re.compile(rf"/(?<![\w.}})\]*~-]/)(?:{'|'.join(OWN_PATHS)})"))


def is_refused(text: str) -> bool:
    return any(pattern.search(text) for pattern in REFUSED)


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    if listed.returncode != 0:
        pytest.skip(f"not a git checkout: {listed.stderr.decode(errors='replace').strip()}")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("text", ["cd /" + "work/main", '"/' + 'root"', "https://py" + "pi.org/simple", "/" + "home/ann/x"])
def test_the_check_sees_what_it_is_for(text: str) -> None:
    assert is_refused(text)


@pytest.mark.parametrize(
    "text", ["HOME/runs/RUN", "tmp_path / 'root'", "a/root", "~/.local/state", "{folder}/home/x", "the work/life"]
)
def test_the_check_leaves_other_text_alone(text: str) -> None:
    assert not is_refused(text)


def test_no_file_names_a_machines_path_or_a_registry() -> None:
    texts = {path: path.read_text(errors="replace") for path in tracked_files() if path.is_file()}
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path, text in texts.items()
        if is_refused(text)
        for number, line in enumerate(text.splitlines(), 1)
        if is_refused(line)
    ]
    assert found == []
