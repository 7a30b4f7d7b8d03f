"""A repository that an item makes in the folder of the jobs file: the run goes on with the user's, and nothing of it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.git_repository import Repository

pytestmark = pytest.mark.usefixtures("no_git_configuration")

PLANT = """
git init -q
git add a.txt c.txt
git -c user.name=a -c user.email=a@b commit -q -m planted
git config filter.x.clean "echo clean >> {witness}; cat"
git config filter.x.smudge "echo smudge >> {witness}; cat"
echo '* filter=x' > .git/info/attributes
touch -d 2020-01-01 a.txt c.txt
"""
"""Nearer than the user's, with programs in its configuration that run for whoever asks what was changed."""

JOBS = """
run.slots = 0
[jobs.plant]
shell = '''{plant}'''
[jobs.copy]
needs = ["plant"]
shell = "echo c >> c.txt"
workspace = "copy"
[jobs.tree]
needs = ["plant"]
shell = "echo b >> a.txt"
workspace = "worktree"
[jobs.child]
needs = ["plant"]
workflow = "child.toml"
"""
CHILD = """
run.slots = 0
[jobs.tree]
shell = "git rev-parse --git-common-dir"
workspace = "worktree"
"""


def test_a_repository_that_an_item_makes_nearer_than_the_users_is_not_taken_for_it(tmp_path: Path, run_cli: RunCli) -> None:
    witness, jobs = tmp_path / "witness", JOBS.format(plant=PLANT.format(witness=tmp_path / "witness"))
    repository = Repository(
        tmp_path / "repo", **{"sub/a.txt": "a\n", "sub/c.txt": "", "sub/jobs.toml": jobs, "sub/child.toml": CHILD}
    )
    done = run_cli("run", str(repository.path / "sub" / "jobs.toml"), "--run-id", "r", cwd=tmp_path)
    assert (done.returncode, witness.exists()) == (0, False), done.stderr
    # A clean checkout whose files are newer than what the index says of them.
    (repository.path / "sub" / "c.txt").touch()
    told = json.loads(run_cli("land", "r", "--json", cwd=tmp_path).stdout)
    assert ([each["item"] for each in told["landed"]], witness.exists()) == (["copy", "tree"], False), told
    assert repository.show("HEAD:sub/a.txt") == "a\nb"
    child = run_cli("logs", "r.child", cwd=tmp_path).stdout
    assert child.strip().endswith(f"{repository.path}/.git"), child
