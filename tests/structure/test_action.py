"""The action for GitHub Actions: it has what it names, no script of it has words of others in it, and its step does its work."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ACTION = CONFIGS / "action" / "action.yml"
EXAMPLE = CONFIGS / "examples" / "github-action.yml"


def steps_of(path: Path) -> list[dict[str, Any]]:
    told = yaml.safe_load(path.read_text("utf-8"))
    found: list[dict[str, Any]] = (told["runs"] if path == ACTION else told["jobs"]["batch"])["steps"]
    return found


@pytest.mark.parametrize("path", [ACTION, EXAMPLE], ids=["action", "example"])
def test_no_script_has_words_of_others_in_it(path: Path) -> None:
    assert [step["run"] for step in steps_of(path) if "${{" in step.get("run", "")] == []


def test_each_input_and_output_that_is_named_is_there() -> None:
    text, action = ACTION.read_text("utf-8"), yaml.safe_load(ACTION.read_text("utf-8"))
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(action["inputs"])
    (used,) = (step for step in steps_of(EXAMPLE) if "configs/action" in step.get("uses", ""))
    assert set(used["with"]) <= set(action["inputs"])
    assert set(re.findall(r"steps\.batch\.outputs\.(\w+)", EXAMPLE.read_text("utf-8"))) <= set(action["outputs"])
    assert (ACTION.parent / "../../pyproject.toml").exists(), "that folder is installed"


@pytest.mark.parametrize(
    ("script", "code", "output"),
    [
        ('echo \'{"run_id":"r1","status":"failed"}\'; exit 1', 1, "run=r1\nstatus=failed\n"),
        ("echo refused >&2; exit 2", 2, ""),
    ],
)
def test_the_step_gives_each_argument_whole_and_tells_the_run(tmp_path: Path, script: str, code: int, output: str) -> None:
    (tmp_path / "orchestrate").write_text(f'#!/bin/sh\nprintf "<%s>" "$ORCHESTRATE_HOME" "$@" > {tmp_path}/argv\n{script}\n')
    (tmp_path / "orchestrate").chmod(0o755)
    told = {
        "INPUT_FILE": "my jobs.toml",
        "INPUT_ARGUMENTS": "--only\nport:a b $(x)\n\n",
        "INPUT_HOME": "/h",
        "GITHUB_OUTPUT": "out",
    }
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **told}
    done = subprocess.run(["bash", str(ACTION.parent / "run.sh")], env=env, cwd=tmp_path, check=False, timeout=30)
    assert done.returncode == code
    assert (tmp_path / "argv").read_text() == "</h><run><my jobs.toml><--json><--only><port:a b $(x)>"
    assert ((tmp_path / "out").read_text() if (tmp_path / "out").exists() else "") == output
