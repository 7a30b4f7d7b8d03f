"""git, as a program: the few calls that workspaces and landing need.

Promise: no call asks anything, runs a hook, signs, or takes another repository than the one it is given, whatever the environment
says (a run may be started by a git hook, which sets GIT_DIR). It is given one that was recorded (`Pinned`), or a folder of the
user's own, and never a folder that an agent may write. What git refuses is `GitFailed`, in its words.
What git has written is on the disk before a name leads to it: after power loss a repository has the old state or the new one.
A call that only reads takes no lock. git is not asked where it would wait for a file of its own (`git_folders`). A call has a
time limit, for a filter or a file system may hang, and hears the end of its attempt. One that is given up is asked to end
(SIGTERM) and waited for: SIGKILL would leave its locks in somebody's repository.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..files.opening import open_file
from ..files.room import no_room_told
from ..interruption import HEED_SECONDS, heed, pause
from ..locks import lock_descriptor
from ..processes.search_path import absolute_path
from .git_folders import waited_for
from .pinned import Where, folder_of, variables_of

if TYPE_CHECKING:
    import subprocess

LOCK_NAME = "orchestrate.lock"
"""In a repository's common folder: a process that adds or removes a worktree holds it, of whatever run."""

IDENTITY = ("orchestrate", "orchestrate@localhost")
"""The author of commits where none is configured: name and address."""

_TIME_LIMIT_SECONDS = 1800.0
READING_SECONDS = 60.0
"""For what only reads the configuration. A file that this includes may be a pipe, and no look of ours finds it."""
_LOCK_POLL_SECONDS = 0.01
_LOCK_PATIENCE_SECONDS = 600.0
"""Work under the lock takes a fraction of a second: a process that holds it so long is stopped."""
_END_SECONDS = 30.0
"""How long a git that was asked to end is waited for: the kernel may be in the midst of a write that it does not let go of."""

_LONGEST_WORDS = 400
_DURABLE = ("-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync", "-c", "core.fsyncObjectFiles=true")
"""The last is for git before 2.36, which knows only that; what a later one says of it is `_NO_WORD`."""
_DIED = " died of signal "
_KILLED_CODES = (128 + signal.SIGKILL, 128 + signal.SIGTERM)
"""How a shell tells of a signal, in which somebody may have wrapped git. (128 + SIGHUP is a code of git's own.)"""
_NO_MEMORY = ("out of memory", "cannot allocate memory", "files this big")
_NOT_YOURS = "detected dubious ownership"
_TRUST_IT = "; it is another user's: if you trust it, git config --global --add safe.directory and its path"
_NO_WORD = "warning: core.fsyncObjectFiles is deprecated"
_QUIET = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    *("-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false", "-c", "advice.detachedHead=false", "-c", "core.quotePath=false"),
    *(
        "-c",
        "color.ui=false",
        "-c",
        "log.showSignature=false",
        "-c",
        "submodule.recurse=false",
        "-c",
        "commit.cleanup=whitespace",
        "-c",
        f"diff.orderFile={os.devnull}",
    ),
)
_EVENTS = (
    *("post-checkout", "post-index-change", "reference-transaction", "pre-commit", "prepare-commit-msg", "commit-msg"),
    *("post-commit", "pre-merge-commit", "post-merge", "post-rewrite", "pre-auto-gc"),
)
_NO_HOOKS = tuple(word for event in _EVENTS for word in ("-c", f"hook.{event}.enabled=false"))
"""From git 2.55 on: hooks may stand in the configuration, too. In 2.54 each of them is turned off by its name (`settings.py`)."""

LOCAL_VARIABLES = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_NAMESPACE"),
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_NO_REPLACE_OBJECTS"),
    *("GIT_REPLACE_REF_BASE", "GIT_IMPLICIT_WORK_TREE", "GIT_INTERNAL_SUPER_PREFIX"),
    *("GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT"),
)
"""Variables that belong to one repository (`git rev-parse --local-env-vars`), such as a hook of it has: in another, or in another
worktree of it, git would write to the wrong place by them."""

_OTHERWISE = (
    *("GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS", "GIT_TRACE"),
    *("GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS"),
)
"""Variables that would have git understand us otherwise, or write otherwise."""


class GitFailed(Exception):
    """git did not do it: its own words, on one line. `exit_code` is git's; None: it could not be run, or had no end."""

    def __init__(self, words: str, exit_code: int | None = None) -> None:
        super().__init__(words)
        self.exit_code = exit_code

    @property
    def was_killed(self) -> bool:
        """Whether a signal of somebody else's ended it, or a git that it had started."""
        return self.exit_code is not None and (self.exit_code < 0 or self.exit_code in _KILLED_CODES or _DIED in str(self))

    @property
    def had_no_memory(self) -> bool:
        """Whether it gave up for want of memory, or was given a file of which it cannot say the size."""
        return any(words in str(self).lower() for words in _NO_MEMORY)


def git(
    where: Where,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    lock: int | None = None,
    stdout: int | None = None,
    given: bytes | None = None,
    time_limit_seconds: float = _TIME_LIMIT_SECONDS,
) -> str:
    """Run `git ARGUMENTS` at `where`; what it wrote, without the final newline. Raises GitFailed, OSError (no room).

    `env` is added to the environment. `lock` is inherited: it stays held until git itself has ended, though its caller is
    killed. `stdout` takes what git writes instead. `given` is its standard input.
    """
    try:
        exit_code, out, err = _run(where, arguments, env, lock, stdout, given, time_limit_seconds)
    except FileNotFoundError as error:
        folder = folder_of(where)
        # The same error says that there is no git and that the folder is gone.
        if not os.path.isdir(folder):
            raise GitFailed(f"{folder}: {error.strerror}") from error
        raise GitFailed("git is not installed") from error
    except NotADirectoryError as error:
        raise GitFailed(f"{folder_of(where)}: {error.strerror}") from error
    if exit_code != 0:
        # git tells of a full disk in words alone. That is no fault of the item's, so it must not look like one.
        said = err.decode("utf-8", "replace")
        if (no_room := no_room_told(said)) is not None:
            raise no_room
        raise GitFailed(_words(said, arguments, exit_code), exit_code)
    return (out or b"").decode("utf-8", "surrogateescape").removesuffix("\n")


def _run(
    where: Where,
    arguments: Sequence[str],
    env: Mapping[str, str] | None,
    lock: int | None,
    stdout: int | None,
    given: bytes | None,
    time_limit_seconds: float,
) -> tuple[int, bytes | None, bytes]:
    """See `git`. The exit code, and both outputs."""
    # Commands without a workspace do not pay for the import.
    import subprocess

    if words := waited_for(where):
        raise GitFailed(words)
    process = subprocess.Popen(
        ["git", *_DURABLE, *_QUIET, *_NO_HOOKS, *arguments],
        cwd=folder_of(where),
        env={**_environment(folder_of(where)), **variables_of(where), **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        pass_fds=() if lock is None else (lock,),
        # Its own session: it is ended by us alone, with all that it has started, and no Ctrl-C ends half of it.
        start_new_session=True,
    )
    give_up_at = time.monotonic() + time_limit_seconds
    try:
        while True:
            try:
                out, err = process.communicate(given, timeout=min(HEED_SECONDS, time_limit_seconds))
                return process.returncode, out, err
            except subprocess.TimeoutExpired:
                given = None  # it is on its way
            heed()
            if time.monotonic() >= give_up_at:
                raise GitFailed(f"git {arguments[0]} did not end in {time_limit_seconds:g} s; does it read a pipe?")
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask git to end, which removes its locks then, and what it has started; wait for it."""
    import subprocess

    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            os.killpg(process.pid, signal.SIGCONT)
    # One that does not end now is left behind: it still holds the lock that was handed on to it.
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_END_SECONDS)


def asked(where: Where, *arguments: str, env: Mapping[str, str] | None = None) -> str | None:
    """What `git ARGUMENTS` says; None if it answers no (exit code 1). Raises GitFailed for all else."""
    try:
        return git(where, *arguments, env=env)
    except GitFailed as failed:
        if failed.exit_code == 1:
            return None
        raise


def commit_of(where: Where, name: str) -> str | None:
    """The commit that `name`, which does not begin with a hyphen, names; None if there is none."""
    return asked(where, "rev-parse", "--verify", "--quiet", name + "^{commit}")


def common_folder(repository: Where) -> str:
    """The folder of git's own files (absolute) that the worktrees of the repository whose root is `repository` share."""
    if not isinstance(repository, str):
        return repository.common_dir
    told = git(repository, "rev-parse", "--git-common-dir", time_limit_seconds=READING_SECONDS)
    return os.path.join(repository, told)


def identity(where: Where) -> dict[str, str]:
    """Variables by which commits have an author: those of IDENTITY, as far as neither the user nor the repository has any."""
    found: dict[str, str] = {}
    for key, value in zip(("name", "email"), IDENTITY, strict=True):
        for role in ("author", "committer"):
            variable = f"GIT_{role.upper()}_{key.upper()}"
            if variable not in os.environ and not (
                asked(where, "config", f"user.{key}") or asked(where, "config", f"{role}.{key}")
            ):
                found[variable] = value
    return found


@contextmanager
def locked(
    repository: Where,
    name: str = LOCK_NAME,
    *,
    patience_seconds: float | None = _LOCK_PATIENCE_SECONDS,
    common: str | None = None,
) -> Iterator[int]:
    """Hold a lock of the repository whose root is `repository`, alone of all processes; gives its descriptor for `git`.

    `common`: its common folder, where that is known.

    Waits for it that long; None: as long as it takes. A process that is killed lets go of it. Raises GitFailed, OSError.
    """
    path = os.path.join(common or common_folder(repository), name)
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    give_up_at = None if patience_seconds is None else time.monotonic() + patience_seconds
    try:
        # Never unlocked by name: closing is enough, and a git that outlives us keeps it until it ends.
        while not lock_descriptor(descriptor):
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise GitFailed(f"{path}: another process has held this lock for {patience_seconds:g} s; is one stopped?")
            pause(_LOCK_POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)


def _environment(folder: str) -> dict[str, str]:
    """This process's, so that git finds the user's configuration. It does not look for a repository above `folder`'s parent:
    one that a user keeps in his home must not take in a workspace that lost its own `.git`.
    """
    kept = {name: value for name, value in os.environ.items() if name not in (*LOCAL_VARIABLES, *_OTHERWISE)}
    return {
        **kept,
        "PATH": absolute_path(os.environ),
        "LC_ALL": "C",
        # What an agent that commits may have written beside the objects: another commit in place of the one that is named.
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": os.devnull,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "GIT_EDITOR": "true",
        "GIT_CEILING_DIRECTORIES": os.path.dirname(os.path.abspath(folder)),
    }


def _words(said: str, arguments: Sequence[str], exit_code: int) -> str:
    # What it lists stands below its words: `unknown repository extension found:`, and then which.
    listed = said.replace(":\n\t", ": ").replace("\n\t", ", ")
    lines = [line.strip() for line in listed.splitlines() if line.strip() and not line.startswith(_NO_WORD)]
    told = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))] or lines[-3:]
    words = "; ".join(told) or f"exit code {exit_code}"
    settings = arguments.count("-c")  # they stand first, each with its value
    hint = _TRUST_IT if _NOT_YOURS in said else ""
    return f"git {arguments[2 * settings]}: {words[:_LONGEST_WORDS]}{hint}"
