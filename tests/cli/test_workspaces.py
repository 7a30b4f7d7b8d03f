"""Items in workspaces of their own, as a user sees them: worktrees, chains, patches, and what stays of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.git_repository import Repository
from drivers.repository_runs import PORT, RepositoryRuns

from orchestrator.workers.workspaces.git import LOCAL_VARIABLES

pytestmark = pytest.mark.usefixtures("no_git_configuration")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"sub/a.txt": "a\n", ".gitignore": "*.env\n"})


@pytest.fixture
def runs(run_cli: RunCli, repository: Repository) -> RepositoryRuns:
    return RepositoryRuns(run_cli, repository)


def test_a_chain_goes_on_where_its_parent_worked_and_a_second_one_from_its_commit(runs: RepositoryRuns) -> None:
    runs.run(
        """
        [jobs.port]
        for_each = ["one", "two"]
        shell = "echo {{ item }} > {{ item }}.txt"
        workspace = "worktree"

        [jobs.review]
        for_each = { job = "port" }
        shell = "echo reviewed >> {{ item }}.txt; test {{ parent.workspace }} = $PWD"

        [jobs.other]
        for_each = { job = "port" }
        shell = "echo other >> {{ item }}.txt"

        [jobs.empty]
        for_each = { job = "review" }
        shell = "cat {{ item }}.txt"

        [jobs.home]
        land = "empty"
        """
    )
    results = runs.results()
    for index in range(2):
        port, review, other, empty = (results[f"{job}:{index}"] for job in ("port", "review", "other", "empty"))
        assert port["workspace"] == review["workspace"] == empty["workspace"] != other["workspace"]
        assert port["branch"] == review["branch"]
        assert "+reviewed" in Path(review["patch"]).read_text()
        assert "+other" in Path(other["patch"]).read_text()
        assert runs.repository.head(f"{review['commit']}~1") == runs.repository.head(f"{other['commit']}~1") == port["commit"]
        assert (empty["commit"], empty["output"]) == (None, f"{port['label']}\nreviewed")
    assert [each["item"] for each in results["home"]["output"]["landed"]] == ["empty:0", "empty:1"]
    assert runs.repository.show("HEAD:two.txt") == "two\nreviewed"
    assert runs.land("review", "port") == {"landed_before": ["port:0", "port:1", "review:0", "review:1"]}


def test_a_run_says_that_worktrees_lack_what_is_not_committed(runs: RepositoryRuns, run_cli: RunCli) -> None:
    runs.repository.write("jobs.toml", '[jobs.port]\nshell = "cat sub/a.txt"\nworkspace = "worktree"\n')
    runs.repository.write("sub/a.txt", "edited\n")
    said = run_cli("run", "jobs.toml", "--run-id", "r", cwd=runs.repository.path).stderr
    assert f"1 file has changes in {runs.repository.path} that are not committed: worktrees start without them" in said
    assert runs.results()["port"]["output"] == "a"


def test_a_jobs_file_in_a_subfolder_works_in_the_same_place_of_the_worktree(runs: RepositoryRuns) -> None:
    runs.repository.write("sub/the.env", "SECRET=1\n")
    runs.run(
        """
        [jobs.port]
        shell = "pwd; cat ../sub/a.txt; echo b >> a.txt"
        workspace = { kind = "worktree", branch = "port/it", include = ["*.env"], setup = "cp the.env set.up", keep = 0 }
        artifacts = ["*.txt", "set.up", "*.json"]

        [jobs.checked]
        for_each = [1]
        needs = ["port"]
        shell = "test -e good || { touch good; exit 1; }; pwd; ls"
        cwd = ".."
        attempts = 2
        retry = { delay = "0s" }
        workspace = "worktree"
        """,
        folder="sub",
    )
    results = runs.results()
    assert results["port"]["output"].split("\n")[0].endswith("/workspaces/port/0/sub")
    assert results["port"]["workspace"] is None
    assert results["port"]["branch"] == "port/it"
    assert runs.repository.show("port/it:sub/a.txt") == "a\nb"
    assert [Path(path).name for path in results["port"]["artifacts"]] == ["a.txt", "set.up"]
    assert results["port"]["notes"] == ["no file matches *.json"]
    assert results["checked:0"]["output"].split("\n")[1:] == ["README", "good", "sub"]
    assert results["checked:0"]["attempts"] == 2


def test_of_an_empty_folder_it_is_said_that_there_is_no_patch(runs: RepositoryRuns) -> None:
    runs.run(
        """
        [jobs.made]
        for_each = [1, 2, 3, 4, 5, 6, 7]
        shell = "touch {{ item }}"
        workspace = "temp"

        [jobs.none]
        shell = "true"
        workspace = "worktree"
        """
    )
    path = runs.results()["made:1"]["workspace"]
    told = f"made:1: it worked in an empty folder, of which no patch is made; what is in it is in {path}"
    assert runs.said("diff", "r", "made:1") == f"note: {told}\n"
    said = runs.said("diff", "r").splitlines()
    assert (len(said), said[1]) == (6, f"note: {told}")
    assert said[-1] == "note: and 2 more: orchestrate results r --fields item,workspace"
    assert runs.said("diff", "r", "none") == "note: nothing was changed in a workspace\n"
    assert runs.said("land", "r", "made:1").startswith(f"note: {told}: not landed\n")
    shutil.rmtree(path)
    assert runs.said("diff", "r", "made:1").endswith("of which no patch is made; and it is gone\n")


def test_a_branch_that_is_called_as_ours_begin_is_told_once_and_hinders_nothing(runs: RepositoryRuns, run_cli: RunCli) -> None:
    runs.repository.write("jobs.toml", PORT)
    runs.repository.commit("the jobs file")
    runs.repository.git("branch", "orchestrate")
    done = run_cli("run", "jobs.toml", "--run-id", "r", cwd=runs.repository.path)
    told = f"{runs.repository.path} has a branch orchestrate, so the branches of this run begin with orchestrate+2/"
    assert (done.returncode, done.stderr.count(told), done.stderr.count("orchestrate+2")) == (0, 1, 1)
    assert runs.results()["port:1"]["branch"] == "orchestrate+2/r/port.1"
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}


def test_a_run_that_a_git_hook_started_leaves_the_users_index_alone(runs: RepositoryRuns, run_cli: RunCli) -> None:
    """The hook's variables lead to the user's index, and to it alone."""
    work = "git rev-parse --show-toplevel || true; echo new > new.txt; git add new.txt || true; env | grep ^GIT_INDEX || true"
    runs.repository.write(
        "jobs.toml",
        f"""
        [jobs.tree]
        shell = {work!r}
        workspace = {{ kind = "worktree", setup = "echo set > up.txt; git add up.txt" }}
        check = "git diff --cached --quiet HEAD -- new.txt && exit 1; exit 0"

        [jobs.copy]
        shell = {work!r}
        workspace = "copy"

        [jobs.temp]
        shell = {work!r}
        workspace = "temp"

        [jobs.declared]
        shell = "echo $GIT_INDEX_FILE"
        workspace = "worktree"
        env = {{ GIT_INDEX_FILE = "of-the-job" }}

        [jobs.shared]
        shell = "env | grep ^GIT_INDEX"

        [jobs.home]
        land = "tree"
        """,
    )
    runs.repository.commit("the jobs file")
    # As `git commit FILE` has it in its hooks: an index besides the usual one.
    index = runs.repository.path / ".git" / "next-index-1.lock"
    shutil.copy(runs.repository.path / ".git" / "index", index)
    before = index.read_bytes()
    variables = {"GIT_DIR": ".git", "GIT_INDEX_FILE": str(index), "GIT_PREFIX": "", "GIT_WORK_TREE": str(runs.repository.path)}
    done = run_cli("run", "jobs.toml", "--run-id", "r", cwd=runs.repository.path, env=variables)
    assert done.returncode == 0, done.stderr
    assert index.read_bytes() == before
    results = runs.results()
    assert results["tree"]["output"] == results["tree"]["workspace"]
    said = [results[job]["output"] for job in ("copy", "temp", "declared", "shared")]
    assert said == ["", "", "of-the-job", f"GIT_INDEX_FILE={index}"]
    assert {"new.txt", "up.txt"} < set(runs.repository.git("ls-tree", "--name-only", results["tree"]["branch"]).split())
    assert [each["item"] for each in results["home"]["output"]["landed"]] == ["tree"]
    assert runs.repository.git("status", "--porcelain") == ""


def test_the_variables_of_one_repository_are_those_that_git_names(repository: Repository) -> None:
    assert set(repository.git("rev-parse", "--local-env-vars").split()) <= set(LOCAL_VARIABLES)


def test_what_cannot_be_is_refused_for_the_item_in_words(run_cli: RunCli, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "jobs.toml").write_text(
        """
        [jobs.tree]
        shell = "true"
        workspace = "worktree"
        continue_on_error = true

        [jobs.place]
        shell = "true"
        workspace = "copy"
        cwd = "{{ '/' }}"
        continue_on_error = true

        [jobs.kept]
        shell = "true"
        artifacts = ["{{ '../x' }}"]
        continue_on_error = true
        """
    )
    assert run_cli("run", folder / "jobs.toml", "--run-id", "r").returncode == 1
    told = {each["item"]: each["error"] for each in json.loads(run_cli("results", "r", "--json").stdout)}
    assert told == {
        "tree": f"workspace: {folder} was in no git repository when the run began, and a worktree is made of one;"
        ' "copy" needs none',
        "place": f"cwd: / lies outside of what the workspace is made of, {folder}",
        "kept": "artifacts: expected a pattern below the workspace, got '../x'",
    }
    done = run_cli("land", "r")
    assert (done.returncode, "was in no git repository" in done.stderr) == (2, True)


def test_a_failed_item_shows_what_it_has_so_far_and_by_hand_one_is_where_it_worked(runs: RepositoryRuns) -> None:
    runs.run('[jobs.port]\nshell = "echo half > b.txt; exit 1"\nworkspace = "worktree"\n', exit_code=1)
    assert "+half" in runs.said("diff", "r", "port")
    nothing = "note: no item has succeeded with changes; diff r ITEM shows what another has so far\n"
    assert runs.said("diff", "r") == nothing, "something was changed"
    workspace = runs.results()["port"]["workspace"]
    index = subprocess.run(["git", "-C", workspace, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert index == "?? b.txt\n"
    done = runs.run_cli("exec", "r", "port", "--shell", env={"SHELL": "/bin/pwd"})
    assert done.stdout.strip() == workspace


HOSTILE = """
[commit]
    gpgSign = true
    cleanup = scissors
[gpg]
    program = /bin/false
[core]
    hooksPath = HOOKS
[color]
    ui = always
[diff]
    noprefix = true
    external = /bin/false
[log]
    showSignature = true
[merge]
    ff = only
[user]
    useConfigOnly = true
"""


def test_what_a_user_has_configured_changes_nothing(runs: RepositoryRuns, tmp_path: Path) -> None:
    runs.repository.write("jobs.toml", PORT)
    runs.repository.commit("the jobs file")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "post-checkout", "pre-merge-commit"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(HOSTILE.replace("HOOKS", str(hooks)))
    runs.said("run", "jobs.toml", "--run-id", "r")
    assert runs.said("diff", "r", "port:0").startswith("diff --git a/one.txt b/one.txt\nnew file")
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}


def test_prune_removes_worktrees_and_keeps_branches_that_have_commits(runs: RepositoryRuns, run_cli: RunCli, home: Path) -> None:
    failing = PORT.replace("echo {{ item }} > {{ item }}.txt", "test {{ item }} != two && echo {{ item }} > {{ item }}.txt")
    runs.run(f"{failing}continue_on_error = true\n", exit_code=1)
    assert len(runs.repository.worktrees()) == 4
    runs.land("port:0")
    lost = home / "runs" / "deleted" / "workspaces" / "port" / "0"
    runs.repository.git("worktree", "add", "--quiet", "--detach", str(lost))
    shutil.rmtree(home / "runs" / "deleted")
    assert run_cli("prune", "--older-than", "0s", cwd=runs.repository.path).stderr == ""
    assert runs.repository.worktrees() == [str(runs.repository.path)]
    assert runs.repository.branches() == {"main", "orchestrate/r/port.2"}, "that of the first is merged"
    assert os.listdir(home / "runs") == []


def test_what_is_not_kept_for_ever_goes_when_a_session_of_its_run_ends(runs: RepositoryRuns, home: Path) -> None:
    kept = 'workspace = { kind = "worktree", keep = "1ms" }'
    runs.run(PORT.replace('workspace = "worktree"', kept) + '[jobs.last]\nneeds = ["port"]\nshell = "sleep 0.01"\n')
    assert sorted(path.name for path in (home / "runs/r/workspaces/port").iterdir()) == ["0.json", "1.json", "2.json"]
    assert [each["workspace"] for each in runs.results().values()] == [None] * 4
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}


def test_other_work_begins_anew_and_what_was_done_before_stays(runs: RepositoryRuns) -> None:
    runs.run(PORT)
    before = runs.results()
    path = runs.repository.path / "jobs.toml"
    path.write_text(PORT.replace("echo {{ item }} >", "ls; echo again {{ item }} >"))
    runs.said("resume", "r", "--update")
    after = runs.results()
    for item in before:
        assert after[item]["output"].split("\n")[-1] == "jobs.toml" or after[item]["output"].endswith("sub")
        assert after[item]["workspace"] == f"{before[item]['workspace']}-2"
        assert after[item]["branch"] == f"{before[item]['branch']}-2"
        assert Path(before[item]["workspace"]).is_dir()
        assert before[item]["branch"] in runs.repository.branches()


def test_an_item_that_is_given_another_kind_of_workspace_has_another_one(runs: RepositoryRuns) -> None:
    jobs = '[jobs.port]\nshell = "ls; touch b; exit 1"\nworkspace = "worktree"\n'
    runs.run(jobs, exit_code=1)
    tree = runs.results()["port"]["workspace"]
    for kind in ("copy", "temp"):
        (runs.repository.path / "jobs.toml").write_text(jobs.replace("worktree", kind))
        runs.said("resume", "r", "--update", exit_code=1)
        result = runs.results()["port"]
        assert (result["error"], result["workspace"]) == ("exit code 1", f"{tree}.{kind}")
        said = Path(result["stdout"]).read_text() if result["stdout"] is not None else ""
        assert said == ("" if kind == "temp" else "README\njobs.toml\nsub\n")


def test_work_that_another_run_did_is_shared_with_its_patch_and_its_files(runs: RepositoryRuns, home: Path) -> None:
    jobs = """
    [jobs.port]
    shell = "mkdir -p out/deep; echo 1 > out/deep/a.json; echo b > b.txt"
    workspace = { kind = "worktree", keep = 0 }
    artifacts = ["out/**/*.json"]
    token = "port it"
    token_ttl = "1h"

    [jobs.next]
    for_each = [1]
    needs = ["port"]
    shell = "true"
    """
    runs.run(jobs)
    runs.said("run", "jobs.toml", "--run-id", "second")
    shutil.rmtree(home / "runs" / "r")
    shared = runs.results("second")["port"]
    assert shared["deduped_from"] == "r/port"
    assert "out/deep/a.json" in Path(shared["patch"]).read_text()
    assert [(path.rpartition(".files/")[2], Path(path).read_text()) for path in shared["artifacts"]] == [
        ("out/deep/a.json", "1\n")
    ]


def test_an_agent_that_edits_in_a_worktree_goes_on_there_until_its_check_is_content(
    runs: RepositoryRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OF_NO_CONCERN", "neither to the agent nor to its check, here or in a landing")
    runs.run(
        """
        [jobs.port]
        agent = "demo"
        prompt = "write done.txt: half"
        retry_prompt = "write done.txt: whole"
        workspace = "worktree"
        check = 'grep -q whole done.txt && test -z "$OF_NO_CONCERN"'
        attempts = 2
        retry = { delay = "0s" }
        """
    )
    result = runs.results()["port"]
    assert (result["attempts"], result["status"]) == (2, "succeeded")
    assert runs.land("port") == {"landed": ["port"]}
    assert (runs.repository.path / "done.txt").read_text().strip() == "whole"


def test_without_workers_items_have_their_workspaces_too(runs: RepositoryRuns) -> None:
    runs.run(PORT, "--slots", "0")
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}
