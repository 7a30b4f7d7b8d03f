"""The action for GitHub Actions: it has what it names, no script of it has words of others in it, and its step does its work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def started_step(folder: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """The step, with a program of these lines in the place of ours; what that prints to stderr can be read."""
    (folder / "orchestrate").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "orchestrate").chmod(0o755)
    told = {
        "INPUT_FILE": "my jobs.toml",
        "INPUT_ARGUMENTS": "--only\nport:a b $(x)\n\n",
        "INPUT_HOME": "/h",
        "GITHUB_OUTPUT": "out",
    }
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **told}
    argv = ["bash", str(ACTION.parent / "run.sh")]
    step = subprocess.Popen(argv, env=env, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True)
    with step:
        try:
            yield step
        finally:
            with suppress(ProcessLookupError):
                os.killpg(step.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("script", "code", "output"),
    [
        ('echo \'{"run_id":"r1","status":"failed"}\'; exit 1', 1, "run=r1\nstatus=failed\n"),
        ("echo refused >&2; exit 2", 2, ""),
    ],
)
def test_the_step_gives_each_argument_whole_and_tells_the_run(tmp_path: Path, script: str, code: int, output: str) -> None:
    with started_step(tmp_path, f'printf "<%s>" "$ORCHESTRATE_HOME" "$@" > {tmp_path}/argv\n{script}\n') as step:
        assert step.wait(timeout=30) == code
    assert (tmp_path / "argv").read_text() == "</h><run><my jobs.toml><--json><--only><port:a b $(x)>"
    assert ((tmp_path / "out").read_text() if (tmp_path / "out").exists() else "") == output


def test_a_cancelled_step_ends_its_run_and_tells_which_it_was(tmp_path: Path) -> None:
    told = """trap 'n=$((n + 1)); echo signal $n >&2; kill $!' TERM
while [ "${n:-0}" -lt 2 ]; do sleep 60 & echo waits >&2; wait; done
echo '{"run_id":"r1","status":"interrupted"}'; exit 143"""
    with started_step(tmp_path, told) as step:
        assert step.stderr is not None
        # The runner signals the shell of the step, which has to pass it on: twice, as Ctrl-C is pressed twice.
        for number, kind in ((1, signal.SIGINT), (2, signal.SIGTERM)):
            assert step.stderr.readline() == "waits\n"
            step.send_signal(kind)
            assert step.stderr.readline() == f"signal {number}\n"
        assert step.wait(timeout=30) == 143
    assert (tmp_path / "out").read_text() == "run=r1\nstatus=interrupted\n"
