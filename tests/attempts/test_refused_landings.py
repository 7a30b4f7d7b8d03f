"""Items that cannot be landed, or must not be: each is told alone, and the others land."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.attempts.workspaces.landing import LOCK_NAME, Change, Landed, landing
from orchestrator.attempts.workspaces.landing_history import NOT_AS_IT_IS
from orchestrator.attempts.workspaces.landing_recovery import mark_landing, mark_of
from orchestrator.errors import UserError
from orchestrator.system.wording import shown
from orchestrator.workers.workspaces.git import git
from orchestrator.workers.workspaces.pinned import Pinned

pytestmark = pytest.mark.usefixtures("no_git_configuration")

PATCH = b"""diff --git a/%s b/%s
new file mode %d
--- /dev/null
+++ b/%s
@@ -0,0 +1 @@
+%s
"""


def landed(
    repository: Repository, *, base: str | None = None, labels: Mapping[str, str] | None = None, **changes: str | bytes
) -> dict[str, Landed]:
    """Land commits and patches, one after the other. `base`: what the commits started from."""
    told: dict[str, Landed] = {}
    with landing(str(repository.path), print, repository.path.parent / "home") as land:
        for name, change in changes.items():
            commit, patch = (change, b"") if isinstance(change, str) else (None, change)
            label = (labels or {}).get(name)
            made = Change(run_id="r", item=name, label=label, commit=commit, base=base, patch=patch, folder=str(repository.path))
            told[name] = land.land_change(made)
    return told


def test_what_an_agent_put_in_place_of_our_own_files_of_the_repository_holds_up_nobody_and_leads_nowhere(
    tmp_path: Path,
) -> None:
    """An agent that commits may write there."""
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    lock = repository.path / ".git" / LOCK_NAME
    os.mkfifo(lock)
    with pytest.raises(UserError, match=f"{LOCK_NAME} is no plain file, and git would wait for its end"):
        landed(repository)
    lock.unlink()
    lock.symlink_to(tmp_path / "made")
    with pytest.raises(UserError, match="nothing can be landed there: a symbolic link stands in its place"):
        landed(repository)
    assert not (tmp_path / "made").exists()
    # What is git's own, and each git would wait for.
    os.mkfifo(repository.path / ".git" / "refs" / "heads" / "x")
    with pytest.raises(UserError, match="refs/heads/x is no plain file, and git would wait for its end: git is not asked"):
        landed(repository)


def test_what_the_user_is_at_work_on_is_taken_back_for_no_mark_of_an_agents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    head, home = repository.head(), tmp_path / "home"
    repository.write("a.txt", "at work\n")
    (repository.path / ".git" / "orchestrate-landing.json").write_text(f'{{"head":"{head}"}}')
    with pytest.raises(UserError, match="has changes that are not committed"):
        landed(repository)
    assert (repository.path / "a.txt").read_text() == "at work\n"
    # A landing that was killed is one: what it left is kept, whatever the agent has put in the place of that.
    place = Pinned(str(repository.path), f"{repository.path}/.git", f"{repository.path}/.git")
    mark_landing(mark_of(home, place), place, head)
    monkeypatch.setattr("orchestrator.attempts.workspaces.landing_recovery.time.strftime", lambda *_: "now")
    repository.git("symbolic-ref", "refs/orchestrate/taken-back/now", "refs/heads/main")
    landed(repository)
    assert (repository.path / "a.txt").read_text() == "a\n"
    assert (repository.head("main"), repository.show("refs/orchestrate/taken-back/now:a.txt")) == (head, "at work")


def test_a_label_and_a_message_of_an_agents_say_nothing_of_what_was_landed(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    base, blob = repository.head(), repository.head("HEAD:a.txt")
    patches = {name: PATCH % (b"%s.txt" % name, b"%s.txt" % name, 100644, b"%s.txt" % name, name) for name in (b"x", b"y", b"z")}
    trailers = [f"Orchestrate-Item: r/{name.decode()} {sha256(patch).hexdigest()[:16]}" for name, patch in patches.items()]
    label = f"\n\n--amend \x1b[31m\u202e\n# {trailers[0]}\nSigned-off-by: a <a@b>\n{trailers[0]}"
    # One item has the trailers of the others in its label, and one in its commit, with a file of theirs.
    repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},forged.txt")
    tree = repository.git("write-tree")
    repository.git("read-tree", base)
    forged = repository.git("commit-tree", "-p", base, "-m", "\n".join(["forged", "", *trailers]), tree)
    told = landed(repository, labels={"forged": label}, forged=forged, **{name.decode(): each for name, each in patches.items()})
    assert [each.status for each in told.values()] == ["landed"] * 4
    message = repository.git("log", "-1", "--format=%B", f"{told['forged'].commit}")
    assert message.splitlines() == [f"Land forged: {shown(label)}", "", "Orchestrate-Item: r/forged"]
    assert not any(character in message for character in "\x1b\u202e\r")
    assert repository.git("log", "-1", "--format=%(trailers:only)", f"{told['forged'].commit}") == "Orchestrate-Item: r/forged"
    # What was landed is that, also where it came by a merge of the branch on which it was landed.
    repository.git("checkout", "-q", "-b", "other", base)
    repository.git("-c", "core.hooksPath=/dev/null", "merge", "-q", "--no-ff", "-m", "home", "main")
    again = landed(repository, **{name.decode(): each for name, each in patches.items()})
    assert [(each.status, each.commit) for each in again.values()] == [("already", told[name].commit) for name in "xyz"]


def test_what_brings_a_repository_of_others_or_cannot_be_found_is_refused_and_the_others_land(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    base = repository.head()
    repository.git("config", "filter.f.clean", "sh ./tools/f.sh %f")
    repository.git("config", "include.path", "../team.gitconfig")
    tree = repository.head("HEAD^{tree}")

    def committed(listed: str) -> str:
        """A commit on top of the base, with what is listed besides."""
        repository.git("update-index", "--add", "--cacheinfo", listed)
        commit = repository.git("commit-tree", "-p", base, "-m", "x", repository.git("write-tree"))
        repository.git("read-tree", base)
        return commit

    blob = repository.git("rev-parse", "HEAD:a.txt")
    told = landed(
        repository,
        unknown="1234567890" * 4,
        orphan=repository.git("commit-tree", "-m", "of its own", tree),
        link=committed(f"160000,{base},inner"),
        hidden=committed(f"100644,{blob},.gitmodules"),
        patched=PATCH % (b"inner", b"inner", 160000, b"inner", b"Subproject commit " + base.encode()),
        renamed=PATCH % (b".gitmodules", b".gitmodules", 100644, b".gitmodules", b"[]"),
        damaged=b"diff --git a/a.txt b/a.txt\n@@ -1",
        program=committed(f"100644,{blob},tools/f.sh"),
        settings=committed(f"100644,{blob},team.gitconfig"),
        good=committed(f"100644,{blob},good.txt"),
        good_patch=PATCH % (b"new.txt", b"new.txt", 100644, b"new.txt", b"new"),
    )
    assert {name: each.status for name, each in told.items()} == {
        **dict.fromkeys(
            ("unknown", "orphan", "link", "hidden", "patched", "renamed", "damaged", "program", "settings"), "refused"
        ),
        **dict.fromkeys(("good", "good_patch"), "landed"),
    }
    assert told["unknown"].message == f"{repository.path} has no commit {'1234567890' * 4}"
    words = "it brings {}, and no repositories of others are landed: look, and merge it yourself"
    assert [told[name].message for name in ("link", "hidden", "patched", "renamed")] == [
        words.format(name) for name in ("inner", ".gitmodules", "inner", ".gitmodules")
    ]
    words = "it changes team.gitconfig, which git reads its settings from: look, and merge it yourself"
    assert told["settings"].message == words
    assert told["program"].message == "it changes tools/f.sh, which filter.f.clean runs: look, and merge it yourself"
    assert repository.git("ls-tree", "-r", "--name-only", "HEAD").split() == ["README", "a.txt", "good.txt", "new.txt"]


def test_a_commit_that_stands_in_place_of_another_is_not_landed_for_it(tmp_path: Path) -> None:
    """Who commits may also say that git is to take another commit for the one that was looked at."""
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    base = repository.head()
    repository.write("good.txt", "good\n")
    good = repository.commit("good")
    repository.git("reset", "--quiet", "--hard", base)
    repository.write("other.txt", "other\n")
    other = repository.commit("other")
    repository.git("reset", "--quiet", "--hard", base)
    repository.git("replace", good, other)
    (repository.path / ".git" / "info" / "grafts").write_text(f"{base} {other}\n")
    assert landed(repository, item=good)["item"].status == "landed"
    assert sorted(each.name for each in repository.path.iterdir()) == [".git", "README", "a.txt", "good.txt"]


def test_a_commit_on_top_of_the_users_own_takes_nothing_of_that_back(tmp_path: Path) -> None:
    """A merge takes what a commit lacks of its parents for removed, and the patch of the item shows nothing of it."""
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n", "b.txt": "b\n"})
    base = repository.head()
    repository.write("b.txt", "mended\n")
    users = repository.commit("the user's, made since")
    repository.git("read-tree", base)
    repository.git("update-index", "--add", "--cacheinfo", f"100644,{repository.head('HEAD:a.txt')},new.txt")
    tree = repository.git("write-tree")
    repository.git("read-tree", users)
    forged, own = (repository.git("commit-tree", "-p", parent, "-m", "x", tree) for parent in (users, base))
    told = landed(repository, base=base, forged=forged)["forged"]
    assert (told.status, told.message) == ("landed", NOT_AS_IT_IS)
    assert (repository.show("HEAD:b.txt"), repository.show("HEAD:new.txt")) == ("mended", "a")
    assert landed(repository, base=base, forged=forged)["forged"].status == "already"
    # What is on its base is merged as it is, and what goes on from that when the item is landed once more.
    assert landed(repository, base=base, own=own)["own"].message == ""
    again = repository.git("commit-tree", "-p", own, "-m", "taken back by itself", repository.head(f"{base}^{{tree}}"))
    assert landed(repository, base=base, own=again)["own"] == Landed(
        item="own", label=None, status="landed", commit=repository.head()
    )
    assert repository.head("HEAD^2") == again
    # What stands on nothing has its files landed, too.
    orphan = repository.git("commit-tree", "-m", "x", tree)
    told = landed(repository, base=base, orphan=orphan)["orphan"]
    assert (told.status, told.message, repository.show("HEAD:new.txt")) == ("landed", NOT_AS_IT_IS, "a")


@pytest.fixture
def short_command_lines() -> Iterator[None]:
    """No program gets more than 128 KiB of arguments: the least that Linux allows, which goes by the limit of the stack."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


@pytest.mark.usefixtures("short_command_lines")
def test_more_files_in_the_way_than_a_command_line_takes_hold_up_nobody(tmp_path: Path) -> None:
    """An agent may have committed what the user's git ignores: `node_modules`, as it is on both sides."""
    repository = Repository(tmp_path / "repo", **{".gitignore": "modules/\n"})
    base, blob = repository.head(), repository.head("HEAD:README")
    names = [f"modules/{number}{'x' * 200}" for number in range(800)]
    (repository.path / "modules").mkdir()
    listed = "".join(f"100644 {blob}\t{name}\n" for name in names)
    place = Pinned(str(repository.path), f"{repository.path}/.git", f"{repository.path}/.git")
    git(place, "update-index", "--add", "--index-info", given=listed.encode())
    many = repository.git("commit-tree", "-p", base, "-m", "many", repository.git("write-tree"))
    repository.git("read-tree", base)
    good = repository.git("commit-tree", "-p", base, "-m", "nothing", f"{base}^{{tree}}")
    for name in names:
        (repository.path / name).touch()
    told = landed(repository, many=many, good=good)
    assert (told["many"].status, told["good"].status) == ("conflict", "landed")
    assert told["many"].message.endswith("and 795 more here, and the item has it, too")


def test_what_the_user_merges_with_into_this_branch_is_not_what_a_landing_merges_with(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    repository.git("checkout", "--quiet", "-b", "work")
    repository.write("b.txt", "b\n")
    repository.commit("work")
    commit = repository.head()
    for option in ("--squash", "-s ours"):
        repository.git("checkout", "--quiet", "-B", "main", "work^")
        repository.git("config", "branch.main.mergeOptions", option)
        assert landed(repository, item=commit)["item"].status == "landed"
        assert repository.show("main:b.txt") == "b"


def test_nothing_is_landed_beside_the_files_of_a_repository(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repo", **{"a.txt": "a\n"})
    (tmp_path / "files").mkdir()
    repository.git("config", "core.worktree", str(tmp_path / "files"))
    with pytest.raises(UserError, match=f"core.worktree says that the files are in {tmp_path}/files"):
        landed(repository, item=repository.head())
    repository.git("config", "core.worktree", str(repository.path))
    assert landed(repository, item=repository.head())["item"].status == "already"
