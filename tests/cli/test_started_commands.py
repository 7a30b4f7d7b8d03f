"""Every command once in a Python of its own, as users start it: all other tests may have it forked from a warm process."""

from __future__ import annotations

from pathlib import Path

from drivers.command_line import RunCli

from orchestrator.cli.group import COMMANDS

JOBS = """
[jobs.go]
command = ["echo", "hello"]

[jobs.ask]
needs = ["go"]
gate = "Go on?"
"""
WORKFLOW = """
steps:
  - id: a
    type: shell
    run: echo a
"""
STORY = [
    ("init", 0, "agents-check"),
    ("check jobs.toml", 0, "ok: 2 jobs"),
    ("plan jobs.toml", 0, "echo hello"),
    ("run jobs.toml --run-id r --progress never", 3, ""),
    ("wait r", 3, ""),
    ("attach r", 3, ""),
    ("list", 0, "paused"),
    ("status r", 0, "go on with: orchestrate resume r"),
    ("why r ask", 0, "approve"),
    ("logs r", 0, "hello"),
    ("results r", 0, "succeeded"),
    ("exec r go", 0, "hello"),
    ("set r slots=3", 0, "3 slots"),
    ("approve r ask", 0, "answered"),
    ("resume r --quiet", 0, ""),
    ("retry r go --quiet", 0, ""),
    ("flush r", 0, "nothing to flush"),
    ("pause r", 0, "nothing to pause"),
    ("stop r", 0, "nothing to stop"),
    ("cancel r", 0, "nothing to cancel"),
    ("capsule r -o r.tar.gz", 0, "0 attempts of agents"),
    ("diff r", 0, ""),
    ("land r", 2, ""),
    ("cost", 0, "no agent was at work"),
    ("tokens list", 0, ""),
    ("completion bash", 0, "complete -o default"),
    ("schema", 0, "$schema"),
    ("agents", 0, "demo"),
    ("doctor", 0, "orchestrate"),
    ("import flow.yml", 0, "[jobs.a]"),
    ("prune --older-than 0s", 0, ""),
]
"""What is typed, in this order; the exit code, and a word of stdout."""


def test_every_command_does_its_work_in_a_process_of_its_own(run_program: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    (tmp_path / "flow.yml").write_text(WORKFLOW)
    each = run_program("each", "--quiet", "--", "echo", stdin="from stdin\n")
    assert (each.returncode, each.stdout) == (0, "from stdin\n")
    for line, code, word in STORY:
        said = run_program(*line.split())
        assert (line, said.returncode) == (line, code), said.stderr
        assert word in said.stdout, line
        assert "internal error" not in said.stderr, line
    assert {line.split()[0] for line, _, _ in STORY} | {"each"} == set(COMMANDS)
