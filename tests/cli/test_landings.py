"""What items did in workspaces of their own is landed: in item order, each whole and checked, or told and taken back."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import msgspec
import pytest
from drivers.command_line import RunCli
from drivers.git_repository import Repository
from drivers.repository_runs import PORT, RepositoryRuns

from orchestrator import Run
from orchestrator.attempts.workspaces.landing import Change, landing
from orchestrator.attempts.workspaces.landing_check import CheckScript
from orchestrator.store.run_dir import RunDir

pytestmark = pytest.mark.usefixtures("no_git_configuration")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo", **{"sub/a.txt": "a\n"})


@pytest.fixture
def runs(run_cli: RunCli, repository: Repository) -> RepositoryRuns:
    return RepositoryRuns(run_cli, repository)


def test_what_items_did_is_shown_and_landed_once_in_item_order(runs: RepositoryRuns) -> None:
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


def test_a_conflict_and_a_failed_check_are_taken_back_and_the_others_land(runs: RepositoryRuns) -> None:
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
    by_hand = runs.run_cli("land", "r", "port:2", "--json", cwd=runs.repository.path).stderr
    assert "Bring it by hand: git merge orchestrate/r/port.2; mend the files" in by_hand
    assert runs.land("port:3", "--no-check") == {"landed": ["port:3"]}


def test_a_worktree_goes_once_all_of_it_is_landed_and_never_before(runs: RepositoryRuns) -> None:
    runs.run(PORT)
    ours = {f"orchestrate/r/port.{index}" for index in range(3)}
    paths = {name: Path(each["workspace"]) for name, each in runs.results().items()}
    assert runs.land("port:0", "--keep-branches") == {"landed": ["port:0"]}
    assert ours < runs.repository.branches()
    # Somebody works in one of them since, and in another has committed something more.
    (paths["port:1"] / "note").write_text("mine\n")
    (paths["port:2"] / "more").write_text("mine\n")
    for words in (("add", "more"), ("commit", "-qm", "more")):
        runs.repository.git("-C", str(paths["port:2"]), *words)
    said = runs.run_cli("land", "r", "--json", cwd=runs.repository.path).stderr
    assert "they are removed, and their worktrees: orchestrate/r/port.0\n" in said
    assert ours & runs.repository.branches() == {"orchestrate/r/port.1", "orchestrate/r/port.2"}
    assert [path.is_dir() for path in paths.values()] == [False, True, True]
    (paths["port:1"] / "note").unlink()
    assert runs.land() == {"landed_before": ["port:0", "port:1", "port:2"]}
    assert ours & runs.repository.branches() == {"orchestrate/r/port.2"}
    # What went is not missed: the item is shown from its patch, and runs once more.
    assert runs.said("diff", "r", "port:0").startswith("diff --git a/one.txt")
    runs.said("retry", "r", "port:0")


def test_an_agent_merges_what_its_landing_conflicted_with_and_then_its_work_lands(runs: RepositoryRuns) -> None:
    runs.run(
        """
        [jobs.port]
        agent = "demo"
        prompt = "write sub/a.txt: the agent's"
        workspace = "worktree"
        [jobs.look]
        for_each = { job = "port" }
        command = ["true"]
        [jobs.tell]
        needs = ["port"]
        command = ["true"]
        """
    )
    runs.repository.write("sub/a.txt", "mine\n")
    mine = runs.repository.commit("mine")
    assert runs.land(exit_code=1) == {"conflicts": ["port"]}
    said = runs.run_cli("land", "r", cwd=runs.repository.path).stderr
    assert "in its session: orchestrate retry r port --rebase" in " ".join(said.split())
    assert "tell works in no worktree" in runs.said("retry", "r", "tell", "--rebase", exit_code=2)
    assert "look:0 goes on from the branch of port" in runs.said("retry", "r", "look", "--rebase", exit_code=2)
    session = runs.results()["port"]["session_id"]
    runs.said("retry", "r", "port", "--rebase", "-m", "write sub/a.txt: both")
    assert runs.results()["port"]["session_id"] == session
    assert runs.said("diff", "r", "port").count("mine") == 1
    assert runs.repository.head() == mine
    assert runs.land() == {"landed": ["port"]}
    assert (runs.repository.path / "sub/a.txt").read_text() == "both\n"


def test_a_program_lands_what_items_did_and_is_told_what_did_not(runs: RepositoryRuns) -> None:
    runs.run(PORT)
    run = Run("r")
    (landed,) = run.land("port:1", check="test -e two.txt")
    assert (landed.item, landed.status) == ("port:1", "landed")
    refused, _, failed = run.land(check="exit 3")
    assert (refused.status, failed.status) == ("check_failed", "check_failed")
    assert failed.message == "the check ended with exit code 3"
    with pytest.raises(ValueError, match="either a check or none"):
        run.land(check="true", no_check=True)


def test_what_git_ignores_in_the_checkout_is_not_written_over_by_a_landing(runs: RepositoryRuns) -> None:
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


def test_what_a_check_leaves_behind_ends_with_it_and_holds_up_no_landing(runs: RepositoryRuns) -> None:
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
    with landing(str(repository.path), print, repository.path.parent / "home") as land:
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
    with landing(str(repository.path), print, repository.path.parent / "home") as land:
        said = land.land_change(change).message
    assert "345678" not in said
    with landing(str(repository.path), print, repository.path.parent / "home") as land:
        short = msgspec.structs.replace(check, script='echo "${DEPLOY_TOKEN-none} $GIVEN"; false; echo on')
        said = land.land_change(msgspec.structs.replace(change, check=short)).message
    assert said == "the check ended with exit code 1\nnone [hidden]"


@pytest.mark.slow
def test_a_landing_goes_by_what_the_run_has_kept_and_by_nothing_that_stands_beside_the_jobs_file_now(
    runs: RepositoryRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLAIN", "not for it")
    said, planted = tmp_path / "said", tmp_path / "planted"
    job = '[jobs.port]\nagent = "mine"\nprompt = "x"\nworkspace = "worktree"\ncheck = "{}"\n'
    check = f"echo new > new.txt; echo ${{PLAIN-none}} >> {said}"
    runs.repository.write("agents/mine.toml", 'extends = "demo"\n')
    runs.run(job.format(check))
    # What an agent may have written there since.
    runs.repository.write("agents/mine.toml", 'extends = "demo"\npass_env = ["PLAIN"]\n')
    runs.repository.write("jobs.toml", job.format(f"touch {planted}"))
    runs.repository.commit("planted")
    assert runs.land() == {"landed": ["port"]}
    assert (said.read_text(), planted.exists()) == ("none\nnone\n", False)
    # Without what it has kept nothing is landed: nobody knows by which check.
    head = runs.repository.head()
    RunDir(Path(os.environ["ORCHESTRATE_HOME"]) / "runs" / "r").kept_files(0).unlink()
    assert "kept.json: the run's own copy cannot be read" in runs.said("land", "r", exit_code=2)
    assert runs.repository.head() == head


def test_a_job_that_lands_says_what_did_not(runs: RepositoryRuns) -> None:
    text = PORT.replace("{{ item }}.txt", "same.txt")
    runs.run(f'{text}[jobs.home]\nland = "port"\n', exit_code=1)
    home = runs.results()["home"]
    assert home["error"] == "2 conflicts (port:1, port:2); the others are landed"
    assert runs.repository.show("HEAD:same.txt") == "one"
    assert runs.repository.git("status", "--porcelain") == ""


def test_a_landing_that_was_killed_is_taken_back_by_the_next_without_losing_anything(runs: RepositoryRuns) -> None:
    runs.run(PORT)
    runs.said("land", "r", "--check", "echo mine >> sub/a.txt; kill -9 $PPID", exit_code=-signal.SIGKILL)
    assert "one.txt" in runs.repository.git("status", "--porcelain")
    said = runs.run_cli("land", "r", cwd=runs.repository.path)
    assert said.returncode == 0
    kept = runs.repository.git("for-each-ref", "--format=%(refname)", "refs/orchestrate")
    assert f"note: a landing in {runs.repository.path} was killed: it is taken back; what it left is {kept}" in said.stderr
    assert (runs.repository.show(f"{kept}:sub/a.txt"), runs.repository.show(f"{kept}:one.txt")) == ("a\nmine", "one")
    assert (runs.repository.path / "sub/a.txt").read_text() == "a\n"
    assert runs.land() == {"landed_before": ["port:0", "port:1", "port:2"]}


def test_a_lock_that_a_killed_git_left_is_named_with_what_to_do(runs: RepositoryRuns) -> None:
    runs.run(PORT)
    (runs.repository.path / ".git" / "index.lock").touch()
    said = runs.said("land", "r", exit_code=2)
    assert "/.git/index.lock': File exists" in said
    assert "if no git is at work there, one was killed: remove that file, then again" in said


def test_nothing_is_landed_on_changes_that_are_not_committed(runs: RepositoryRuns) -> None:
    runs.run(PORT)
    runs.repository.write("sub/a.txt", "edited\n")
    head = runs.repository.head()
    assert "has changes that are not committed" in runs.said("land", "r", exit_code=2)
    assert ((runs.repository.path / "sub/a.txt").read_text(), runs.repository.head()) == ("edited\n", head)
    # A merge that is begun may hold hours of somebody's work.
    (runs.repository.path / ".git" / "MERGE_HEAD").write_text(f"{head}\n")
    assert "commit what it came to, or give it up: git -C" in runs.said("land", "r", exit_code=2)


def test_copies_are_landed_as_patches_and_only_a_worktree_can_be_forked(runs: RepositoryRuns) -> None:
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


def test_an_item_whose_work_cannot_be_told_is_named_and_the_others_are_shown_and_landed(runs: RepositoryRuns) -> None:
    runs.run(PORT.replace('"worktree"', '"copy"').replace("echo {{ item }} >", "seq 9999 | tee"))
    Path(runs.results()["port:1"]["patch"]).unlink()
    shown = runs.said("diff", "r", exit_code=1)
    assert ("b/one.txt" in shown, "b/two.txt" in shown, "b/three.txt" in shown) == (True, False, True)
    assert runs.land(exit_code=1) == {"landed": ["port:0", "port:2"], "refused": ["port:1"]}
    assert "port:1 two not landed: " in runs.said("land", "r", exit_code=1)
