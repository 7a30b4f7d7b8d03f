"""Items in workspaces of their own, as a user sees them: worktrees, chains, patches, and what is landed of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.command_line import RunCli
from drivers.git_repository import Repository

from orchestrator.attempts.workspaces.landing import Change, CheckScript, landing
from orchestrator.reading.item_result import item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.workspaces.git import LOCAL_VARIABLES

pytestmark = pytest.mark.usefixtures("no_git_configuration")

PORT = """
[jobs.port]
for_each = ["one", "two", "three"]
shell = "echo {{ item }} > {{ item }}.txt"
workspace = "worktree"
"""


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"sub/a.txt": "a\n", ".gitignore": "*.env\n"})


class Runs:
    """Runs jobs files of one repository, in one run `r`."""

    def __init__(self, run_cli: RunCli, repository: Repository) -> None:
        self._run_cli = run_cli
        self.repository = repository

    def run(self, jobs: str, *arguments: str, folder: str = ".", exit_code: int = 0) -> str:
        path = self.repository.path / folder / "jobs.toml"
        path.write_text(jobs)
        self.repository.commit("the jobs file")
        return self.said("run", str(path), "--run-id", "r", "-j", "2", *arguments, exit_code=exit_code)

    def said(self, *arguments: str, exit_code: int = 0) -> str:
        done = self._run_cli(*arguments, cwd=self.repository.path)
        assert done.returncode == exit_code, done.stderr + done.stdout
        return done.stdout if done.stdout else done.stderr

    def results(self, run_id: str = "r") -> dict[str, dict[str, Any]]:
        """What `results --json` prints, without the cost of a process."""
        home = Path(os.environ["ORCHESTRATE_HOME"])
        return {each["item"]: each for each in item_results(RunReader.read(RunDir(home / "runs" / run_id)))}

    def land(self, *arguments: str, exit_code: int = 0) -> dict[str, list[str]]:
        """Which items came to what."""
        told = json.loads(self.said("land", "r", *arguments, "--json", exit_code=exit_code))
        return {key: [each["item"] for each in value] for key, value in told.items() if isinstance(value, list) and value}


@pytest.fixture
def runs(run_cli: RunCli, repository: Repository) -> Runs:
    return Runs(run_cli, repository)


def test_what_items_did_is_shown_and_landed_once_in_item_order(runs: Runs) -> None:
    runs.run(PORT)
    results = runs.results()
    assert results["port:1"]["branch"] == "orchestrate/r/port.1"
    assert Path(results["port:1"]["workspace"], "two.txt").read_text() == "two\n"
    patch = runs.said("diff", "r", "port:1")
    assert patch.startswith("diff --git a/two.txt b/two.txt")
    assert Path(results["port:1"]["patch"]).read_text() == patch
    assert "3 files" not in runs.said("diff", "r", "--stat")
    assert runs.land("port:2", "port:0") == {"landed": ["port:0", "port:2"]}
    assert runs.land() == {"landed_before": ["port:0", "port:2"], "landed": ["port:1"]}
    assert runs.land() == {"landed_before": ["port:0", "port:1", "port:2"]}
    titles = runs.repository.git("log", "--first-parent", "--format=%s", "-3")
    assert titles.split("\n") == ["Land port:1: two", "Land port:2: three", "Land port:0: one"]
    assert {"one.txt", "two.txt", "three.txt"} < set(os.listdir(runs.repository.path))


def test_a_conflict_and_a_failed_check_are_taken_back_and_the_others_land(runs: Runs) -> None:
    script = "echo {{ item }} > shared.txt; echo {{ item }} > {{ item }}.txt"
    check = "! test -e two.txt || ! test -e four.txt"
    runs.run(
        f"""
        [jobs.port]
        for_each = ["one", "two", "three", "four"]
        shell = "case {{{{ item }}}} in two|four) echo {{{{ item }}}} > {{{{ item }}}}.txt;; *) {script};; esac"
        workspace = "worktree"
        check = "{check}"
        """
    )
    runs.repository.write("untracked", "mine\n")
    assert runs.land(exit_code=1) == {
        "landed": ["port:0", "port:1"],
        "conflicts": ["port:2"],
        "failed_checks": ["port:3"],
    }
    assert runs.repository.git("status", "--porcelain") == "?? untracked"
    assert (runs.repository.path / "shared.txt").read_text() == "one\n"
    assert not (runs.repository.path / "four.txt").exists()
    assert {"orchestrate/r/port.2", "orchestrate/r/port.3"} < runs.repository.branches()
    said = runs.said("land", "r", "port:2", "port:3", exit_code=1)
    assert "conflict: conflict in shared.txt; its work stays on orchestrate/r/port.2" in said
    assert "the check ended with exit code 1" in said
    assert runs.land("port:3", "--no-check") == {"landed": ["port:3"]}


def test_what_git_ignores_in_the_checkout_is_not_written_over_by_a_landing(runs: Runs) -> None:
    runs.run(
        """
        [jobs.port]
        for_each = ["out/made", "kept", "free"]
        shell = "mkdir -p out; echo {{ item }} > {{ item }}"
        workspace = "worktree"
        """
    )
    runs.repository.write(".gitignore", "out\nkept\n")
    runs.repository.commit("from now on they are ignored")
    runs.repository.write("out", "my notes\n")
    runs.repository.write("kept/notes", "mine\n")
    told = json.loads(runs.said("land", "r", "--json", exit_code=1))
    assert [each["item"] for each in told["landed"]] == ["port:2"]
    assert [each["files"] for each in told["conflicts"]] == [["out"], ["kept"]]
    assert (runs.repository.path / "out").read_text() == "my notes\n"
    assert (runs.repository.path / "kept/notes").read_text() == "mine\n"


def test_what_a_check_leaves_behind_ends_with_it_and_holds_up_no_landing(runs: Runs) -> None:
    runs.run(PORT)
    held = runs.repository.path.parent / "held"
    os.mkfifo(held)
    reading = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    assert runs.land("port:0", "--check", f"sleep 600 > {held} &") == {"landed": ["port:0"]}
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""  # nobody has it open any more
    os.close(reading)


def test_a_check_whose_time_is_over_may_tidy_up_before_it_ends(repository: Repository) -> None:
    """A git in it that were killed would leave its locks in the user's checkout."""
    repository.git("checkout", "-q", "-b", "work")
    repository.write("new.txt", "new\n")
    commit = repository.commit("new")
    repository.git("checkout", "-q", "main")
    lock = repository.path / ".git" / "index.lock"
    script = f"trap 'rm {lock}; exit 1' TERM; : > {lock}; sleep 600 & wait"
    check = CheckScript(script, str(repository.path), {}, 0.3)
    change = Change(run_id="r", item="port:0", label=None, commit=commit, folder=str(repository.path), check=check)
    with landing(str(repository.path), print) as land:
        landed = land.land_change(change)
    assert (landed.status, landed.message) == ("check_failed", "the check did not end in 0.3 s")
    assert (lock.exists(), repository.git("status", "--porcelain")) == (False, "")


def test_a_check_of_a_landing_has_the_variables_of_its_item_alone_and_tells_no_secret(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs what agents wrote."""
    monkeypatch.setenv("DEPLOY_TOKEN", "t-12345678")
    repository.git("checkout", "-q", "-b", "work")
    repository.write("new.txt", "new\n")
    commit = repository.commit("new")
    repository.git("checkout", "-q", "main")

    def hide(text: str) -> str:
        return text.replace("s-12345678", "[hidden]")

    # The secret lies across the place where what is shown begins.
    script = 'echo "${DEPLOY_TOKEN-none} $GIVEN$(printf %3998d 1)"; exit 1'
    check = CheckScript(script, str(repository.path), {"GIVEN": "s-12345678"}, redact=hide)
    change = Change(run_id="r", item="port:0", label=None, commit=commit, folder=str(repository.path), check=check)
    with landing(str(repository.path), print) as land:
        said = land.land_change(change).message
    assert "345678" not in said
    with landing(str(repository.path), print) as land:
        short = msgspec.structs.replace(check, script='echo "${DEPLOY_TOKEN-none} $GIVEN"; false; echo on')
        said = land.land_change(msgspec.structs.replace(change, check=short)).message
    assert said == "the check ended with exit code 1\nnone [hidden]"


def test_a_job_that_lands_says_what_did_not(runs: Runs) -> None:
    text = PORT.replace("{{ item }}.txt", "same.txt")
    runs.run(f'{text}[jobs.home]\nland = "port"\n', exit_code=1)
    home = runs.results()["home"]
    assert home["error"] == "2 conflicts (port:1, port:2); the others are landed"
    assert runs.repository.show("HEAD:same.txt") == "one"
    assert runs.repository.git("status", "--porcelain") == ""


def test_a_landing_that_was_killed_is_taken_back_by_the_next_without_losing_anything(runs: Runs) -> None:
    runs.run(PORT)
    runs.said("land", "r", "--check", "echo mine >> sub/a.txt; kill -9 $PPID", exit_code=-signal.SIGKILL)
    assert "one.txt" in runs.repository.git("status", "--porcelain")
    said = runs._run_cli("land", "r", cwd=runs.repository.path)
    assert said.returncode == 0
    kept = runs.repository.git("for-each-ref", "--format=%(refname)", "refs/orchestrate")
    assert f"note: a landing in {runs.repository.path} was killed: it is taken back; what it left is {kept}" in said.stderr
    assert (runs.repository.show(f"{kept}:sub/a.txt"), runs.repository.show(f"{kept}:one.txt")) == ("a\nmine", "one")
    assert (runs.repository.path / "sub/a.txt").read_text() == "a\n"
    assert runs.land() == {"landed_before": ["port:0", "port:1", "port:2"]}


def test_a_lock_that_a_killed_git_left_is_named_with_what_to_do(runs: Runs) -> None:
    runs.run(PORT)
    (runs.repository.path / ".git" / "index.lock").touch()
    said = runs.said("land", "r", exit_code=2)
    assert "/.git/index.lock': File exists" in said
    assert "if no git is at work there, one was killed: remove that file, then again" in said


def test_nothing_is_landed_on_changes_that_are_not_committed(runs: Runs) -> None:
    runs.run(PORT)
    runs.repository.write("sub/a.txt", "edited\n")
    head = runs.repository.head()
    assert "has changes that are not committed" in runs.said("land", "r", exit_code=2)
    assert ((runs.repository.path / "sub/a.txt").read_text(), runs.repository.head()) == ("edited\n", head)
    # A merge that is begun may hold hours of somebody's work.
    (runs.repository.path / ".git" / "MERGE_HEAD").write_text(f"{head}\n")
    assert "commit what it came to, or give it up: git -C" in runs.said("land", "r", exit_code=2)


def test_a_chain_goes_on_where_its_parent_worked_and_a_second_one_from_its_commit(runs: Runs) -> None:
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


def test_a_run_says_that_worktrees_lack_what_is_not_committed(runs: Runs, run_cli: RunCli) -> None:
    runs.repository.write("jobs.toml", '[jobs.port]\nshell = "cat sub/a.txt"\nworkspace = "worktree"\n')
    runs.repository.write("sub/a.txt", "edited\n")
    said = run_cli("run", "jobs.toml", "--run-id", "r", cwd=runs.repository.path).stderr
    assert f"1 file has changes in {runs.repository.path} that are not committed: worktrees start without them" in said
    assert runs.results()["port"]["output"] == "a"


def test_a_jobs_file_in_a_subfolder_works_in_the_same_place_of_the_worktree(runs: Runs) -> None:
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


def test_of_an_empty_folder_it_is_said_that_there_is_no_patch(runs: Runs) -> None:
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


def test_a_branch_that_is_called_as_ours_begin_is_told_once_and_hinders_nothing(runs: Runs, run_cli: RunCli) -> None:
    runs.repository.write("jobs.toml", PORT)
    runs.repository.commit("the jobs file")
    runs.repository.git("branch", "orchestrate")
    done = run_cli("run", "jobs.toml", "--run-id", "r", cwd=runs.repository.path)
    told = f"{runs.repository.path} has a branch orchestrate, so the branches of this run begin with orchestrate+2/"
    assert (done.returncode, done.stderr.count(told), done.stderr.count("orchestrate+2")) == (0, 1, 1)
    assert runs.results()["port:1"]["branch"] == "orchestrate+2/r/port.1"
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}


def test_a_run_that_a_git_hook_started_leaves_the_users_index_alone(runs: Runs, run_cli: RunCli) -> None:
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
        "tree": f'workspace: {folder} is in no git repository, which a worktree is made of; "copy" needs none',
        "place": f"cwd: / lies outside of what the workspace is made of, {folder}",
        "kept": "artifacts: expected a pattern below the workspace, got '../x'",
    }
    done = run_cli("land", "r")
    assert (done.returncode, "is in no git repository" in done.stderr) == (2, True)


def test_copies_are_landed_as_patches_and_only_a_worktree_can_be_forked(runs: Runs) -> None:
    copies = PORT.replace('"worktree"', '"copy"')
    runs.run(copies)
    assert runs.results()["port:0"]["commit"] is None
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}
    assert runs.land() == {"landed_before": ["port:0", "port:1", "port:2"]}
    assert runs.repository.show("HEAD:three.txt") == "three"
    chains = "".join(f'[jobs.{name}]\nfor_each = {{ job = "port" }}\nshell = "true"\n' for name in ("a", "b"))
    (runs.repository.path / "fork.toml").write_text(copies + chains)
    said = runs.said("check", "fork.toml", exit_code=2)
    assert "jobs.b: a goes on in the workspaces of port already, and only a worktree can be given to two jobs" in said


def test_an_item_whose_work_cannot_be_told_is_named_and_the_others_are_shown_and_landed(runs: Runs) -> None:
    runs.run(PORT.replace('"worktree"', '"copy"').replace("echo {{ item }} >", "seq 9999 | tee"))
    Path(runs.results()["port:1"]["patch"]).unlink()
    shown = runs.said("diff", "r", exit_code=1)
    assert ("b/one.txt" in shown, "b/two.txt" in shown, "b/three.txt" in shown) == (True, False, True)
    assert runs.land(exit_code=1) == {"landed": ["port:0", "port:2"], "refused": ["port:1"]}
    assert "port:1 two not landed: " in runs.said("land", "r", exit_code=1)


def test_a_failed_item_shows_what_it_has_so_far_and_by_hand_one_is_where_it_worked(runs: Runs) -> None:
    runs.run('[jobs.port]\nshell = "echo half > b.txt; exit 1"\nworkspace = "worktree"\n', exit_code=1)
    assert "+half" in runs.said("diff", "r", "port")
    nothing = "note: no item has succeeded with changes; diff r ITEM shows what another has so far\n"
    assert runs.said("diff", "r") == nothing, "something was changed"
    workspace = runs.results()["port"]["workspace"]
    index = subprocess.run(["git", "-C", workspace, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert index == "?? b.txt\n"
    done = runs._run_cli("exec", "r", "port", "--shell", env={"SHELL": "/bin/pwd"})
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


def test_what_a_user_has_configured_changes_nothing(runs: Runs, tmp_path: Path) -> None:
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


def test_prune_removes_worktrees_and_keeps_branches_that_have_commits(runs: Runs, run_cli: RunCli, home: Path) -> None:
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


def test_what_is_not_kept_for_ever_goes_when_a_session_of_its_run_ends(runs: Runs, home: Path) -> None:
    kept = 'workspace = { kind = "worktree", keep = "1ms" }'
    runs.run(PORT.replace('workspace = "worktree"', kept) + '[jobs.last]\nneeds = ["port"]\nshell = "sleep 0.01"\n')
    assert sorted(path.name for path in (home / "runs/r/workspaces/port").iterdir()) == ["0.json", "1.json", "2.json"]
    assert [each["workspace"] for each in runs.results().values()] == [None] * 4
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}


def test_other_work_begins_anew_and_what_was_done_before_stays(runs: Runs) -> None:
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


def test_an_item_that_is_given_another_kind_of_workspace_has_another_one(runs: Runs) -> None:
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


def test_work_that_another_run_did_is_shared_with_its_patch_and_its_files(runs: Runs, home: Path) -> None:
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
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_without_workers_items_have_their_workspaces_too(runs: Runs) -> None:
    runs.run(PORT, "--slots", "0")
    assert runs.land() == {"landed": ["port:0", "port:1", "port:2"]}
