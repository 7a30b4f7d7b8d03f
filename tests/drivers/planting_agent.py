"""An agent that leaves in its workspace all that a configuration can have git run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Literal

from orchestrator.attempts.workspaces.changes import patch_so_far
from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.protocol import AttemptClass, WorkspaceReport, WorkspaceTask
from orchestrator.workers.workspaces.workspace import Workspace

PLANT = r"""
plant() { cat "$W/planted" >> "$(git rev-parse --git-common-dir)/config"; }
mine() { git -c user.name=a -c user.email=a@b -c core.hooksPath=/dev/null "$@"; }
attributes='* filter=x diff=x merge=x'
"""
"""Shell functions of the agent: it plants the configuration, and commits."""

PLANTED = """
[filter "x"]
    clean = {run} clean
    smudge = {run} smudge
    process = {run} process
    required = true
[core]
    fsmonitor = {run} fsmonitor
    hooksPath = {hooks}
    sshCommand = {run} ssh
    pager = {run} pager
    editor = {run} editor
[diff]
    external = {run} diff
[diff "x"]
    command = {run} diff x
    textconv = {run} textconv
[merge "x"]
    driver = {run} merge
[credential]
    helper = {run} credential
[gpg]
    program = {run} gpg
[remote "origin"]
    url = {hooks}
    uploadpack = {run} uploadpack
    promisor = true
[extensions]
    partialClone = origin
[alias]
    add = !{run} add
    status = !{run} status
[hook "x"]
    event = post-commit
    event = reference-transaction
    command = {run} hook
[include]
    path = {included}
"""
"""All that a configuration can have git run."""


class Item:
    """The attempts of one item, at which a test plays the agent. `witness` is there if anything ran that the agent has left."""

    def __init__(self, root: Path, source: Path, kind: Literal["worktree", "copy"] = "worktree", **settings: Any) -> None:
        self.root, self.path, self.witness = root, root / "workspaces" / "port" / "0", root / "witness"
        hooks = root / "hooks"
        hooks.mkdir()
        run = f'#!/bin/sh\necho "$0 $*" >> {self.witness}\n'
        for place in (root / "run", hooks / "pre-commit", hooks / "reference-transaction", hooks / "post-index-change"):
            place.write_text(run)
            place.chmod(0o755)
        (root / "included").write_text(f'[filter "x"]\n\tclean = {root}/run included\n')
        (root / "planted").write_text(PLANTED.format(run=root / "run", hooks=hooks, included=root / "included"))
        self.task = WorkspaceTask(
            kind=kind,
            path=str(self.path),
            source=str(source),
            cwd=str(self.path),
            branch="orchestrate/run/port.0",
            message="port:0",
            patch_path=str(root / "patch"),
            artifacts_folder=str(root / "files"),
            left_out=[str(self.path.parent.parent)],
            settings_path=str(root / "workspaces" / "repository.json"),
            **settings,
        )

    def attempt(self, script: str = "", *, looks: bool = False) -> tuple[AttemptEnd, WorkspaceReport | None]:
        """An attempt whose agent is a shell script. `looks`: a user looks at its changes before it has ended."""
        workspace = Workspace(self.task, "mark")
        workspace.enter(lambda script: self._shell(script))
        self._shell(script)
        if looks:
            patch_so_far(str(self.path), None)
        return workspace.finish(AttemptEnd(AttemptClass.OK), str(self.root / "live"), 1000)

    def _shell(self, script: str) -> AttemptEnd:
        subprocess.run(["/bin/sh", "-ec", f"W={self.root}\n{PLANT}\n{script}"], cwd=self.path, check=True, capture_output=True)
        self.witness.unlink(missing_ok=True)  # its own git has run it, inside of its sandbox
        return AttemptEnd(AttemptClass.OK)

    def patch(self) -> str:
        return (self.root / "patch").read_text()
