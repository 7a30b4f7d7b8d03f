"""Records runs of one version of the program, which `test_recorded_runs.py` loads and resumes with the present one.

    python record.py VERSION [STORY…]

The checkout of that version lies in /tmp/recorded/program with its `.venv`, so that no path in a recording names a machine.
VERSION is a key of `STORIES`. A change of a format adds a version here, recorded by the last program that wrote the old format;
what was recorded once is never recorded again.

A recording is a folder VERSION/STORY: `home` and `project` as they lay when nobody ran any more, `state` (what the demo agent
remembers), and `told.json`: what that very program said of the run, and which folders were empty, for git keeps none. Sockets and
locks are left out, whose truth is the kernel's, and `.git` is called `dot-git`, which git takes for a folder like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
PLACE = Path("/tmp/recorded")
PYTHON = PLACE / "program" / ".venv" / "bin" / "python"
RUN = "recorded"

HOLD = 'echo {{ item }} >> ran.txt; while [ -e "hold-"{{ item }} ]; do sleep 0.02; done; echo did {{ item }}'
"""Witnesses that it ran, and goes on until `hold-ITEM` is gone."""


class Stage:
    """Where one story is played: an empty home and project."""

    def __init__(self) -> None:
        for name in ("home", "project", "state", "user"):
            shutil.rmtree(PLACE / name, ignore_errors=True)
            (PLACE / name).mkdir(mode=0o700)
        self.project = PLACE / "project"
        self.home = PLACE / "home"
        self.told: dict[str, Any] = {}
        self._env = {
            "PATH": f"{PYTHON.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(PLACE / "user"),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "ORCHESTRATE_HOME": str(self.home),
            "XDG_STATE_HOME": str(PLACE / "state"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **{f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def write(self, name: str, text: str) -> None:
        path = self.project / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def sh(self, script: str) -> None:
        subprocess.run(["/bin/sh", "-ec", script], cwd=self.project, env=self._env, check=True)

    def start(self, *words: str) -> subprocess.Popen[str]:
        argv = [str(PYTHON), "-m", "orchestrator", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=self.project, env=self._env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def cli(self, *words: str, exit_code: int = 0) -> str:
        process = self.start(*words)
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == exit_code, (words, process.returncode, stdout, stderr)
        return stdout

    def run(self, *words: str, exit_code: int = 0, run_id: str = RUN) -> None:
        self.cli("run", "jobs.toml", "--run-id", run_id, *words, exit_code=exit_code)

    def ran(self, count: int) -> None:
        """Wait until so many items have witnessed."""
        self.wait(lambda: len((self.project / "ran.txt").read_text().split()) >= count)

    def wait(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def item_is(self, item: str, status: str, run_id: str = RUN) -> Callable[[], bool]:
        def is_so() -> bool:
            if not (self.home / "runs" / run_id / "checkpoint.json").exists():
                return False
            results = json.loads(self.cli("results", run_id, "--json"))
            return any(each["item"] == item and each["status"] == status for each in results)

        return is_so

    def kill_supervisors(self) -> None:
        for path in self.home.glob("runs/*/supervisor.json"):
            try:
                os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)
            except ProcessLookupError:
                continue

    def kill_all(self) -> None:
        """Everything of this home with SIGKILL: supervisors first, workers, what they run."""
        self.kill_supervisors()
        left = [process for process in psutil.process_iter() if _is_ours(process)]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def no_worker_left(self) -> bool:
        return not any(_is_ours(process) for process in psutil.process_iter())

    def save(self, folder: Path) -> None:
        assert self.no_worker_left()
        self.told["status"] = json.loads(self.cli("status", RUN, "--json"))
        self.told["results"] = json.loads(self.cli("results", RUN, "--json"))
        self.told["logs"] = {each["item"]: self.cli("logs", RUN, each["item"]) for each in self.told["results"] if each["stdout"]}
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("home", "project", "state"):
            shutil.copytree(PLACE / name, folder / name, symlinks=True, ignore=_left_out)
        for path in sorted(folder.rglob(".git"), reverse=True):
            path.rename(path.with_name("dot-git"))
        self.told["empty_folders"] = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if _is_empty(path))
        (folder / "told.json").write_text(json.dumps(self.told, indent=1, sort_keys=True) + "\n")


def _is_ours(process: psutil.Process) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            return False
        return process.environ().get("ORCHESTRATE_HOME") == str(PLACE / "home") or Path(process.cwd()) == PLACE / "project"
    except psutil.Error:
        return False


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _left_out(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.endswith((".sock", ".lock")) or name in ("__pycache__", "hooks", "lock")]


def finished(stage: Stage) -> None:
    stage.write(
        "jobs.toml",
        """
[run]
slots = 2

[jobs.list]
shell = "printf 'one\\ntwo\\nthree\\n'"
output = "lines"

[jobs.work]
for_each = "{{ jobs.list.output }}"
shell = '''
echo {{ item }} >> ran.txt
if [ {{ item }} = two ]; then echo broken >&2; exit 3; fi
echo did {{ item }}
'''
max_failures = 1

[jobs.large]
shell = "seq 1100"

[jobs.left_out]
needs = ["list"]
when = "{{ 1 == 2 }}"
shell = "exit 1"

[jobs.report]
stdin = "{{ jobs.work.outputs | tojson }}"
shell = "cat"
""",
    )
    stage.run()


def interrupted(stage: Stage) -> None:
    """Two items are done, one is left in a worker's log, one was killed with its worker, one has not begun."""
    stage.write(
        "jobs.toml",
        f"""
[run]
slots = 2

[jobs.work]
for_each = ["a", "b", "c", "d", "e"]
label = "work on {{{{ item }}}}"
shell = '''{HOLD}'''

[jobs.report]
stdin = "{{{{ jobs.work.outputs | tojson }}}}"
shell = "cat"
""",
    )
    stage.write("hold-c", "")
    stage.write("hold-d", "")
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.ran(4)
    stage.wait(stage.item_is("work:1", "succeeded"))
    stage.kill_supervisors()
    [process] = [each for each in psutil.process_iter() if _is_ours(each) and "echo 'd' " in " ".join(each.cmdline())]
    worker = process.parent()
    assert worker is not None
    worker.kill()
    process.kill()
    (stage.project / "hold-c").unlink()
    stage.wait(stage.no_worker_left)
    (stage.project / "hold-d").unlink()


def stopped(stage: Stage) -> None:
    """Drained by a signal, and what still ran ended by a second one."""
    stage.write("jobs.toml", f"[run]\nslots = 2\n[jobs.work]\nfor_each = ['a', 'b', 'c']\nshell = '''{HOLD}'''\n")
    stage.write("hold-b", "")
    process = stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.wait(stage.item_is("work:0", "succeeded"))
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # two at once would be one
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    (stage.project / "hold-b").unlink()


def tokens(stage: Stage) -> None:
    """It takes over what an earlier run has done, holds a token and a slot of a pool, was given another slot, and is killed."""
    fetch = f"""
pool = "site"
token = "page {{{{ item }}}}"
token_ttl = "36500d"
shell = '''{HOLD}'''

[pools.site]
slots = 2
rate = "50/s"
"""
    stage.write("before.toml", f"[jobs.fetch]\nfor_each = ['a']{fetch}")
    stage.cli("run", "before.toml", "--run-id", "before")
    stage.write(
        "jobs.toml",
        f"""
[run]
slots = 4

[jobs.sizes]
for_each = {{ job = "fetch" }}
lane = "fast"
stdin = "{{{{ parent.output }}}}"
command = ["wc", "-c"]

[jobs.fetch]
for_each = ["a", "b", "a"]{fetch}
""",
    )
    stage.write("hold-b", "")
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.wait(stage.item_is("sizes:2", "succeeded"))
    stage.ran(2)
    stage.cli("set", RUN, "slots=5")
    stage.kill_all()
    (stage.project / "hold-b").unlink()


def gate(stage: Stage) -> None:
    """A gate was rejected once and sent the draft back; its question is out again."""
    stage.write(
        "jobs.toml",
        """
[jobs.draft]
shell = "echo draft >> ran.txt; echo dear all {{ jobs.ship.message }}"

[jobs.ship]
gate = "Send {{ jobs.draft.output | tojson }}?"
options = ["approve", "later", "reject"]
on_reject = { retry = "draft" }

[jobs.send]
when = "{{ jobs.ship.output == 'approve' }}"
shell = "echo send >> ran.txt; echo sent: {{ jobs.draft.output }}"
""",
    )
    stage.run(exit_code=3)
    stage.cli("approve", RUN, "ship", "--choice", "reject", "--message", "name the year")
    stage.cli("resume", RUN, exit_code=3)


def loop(stage: Stage) -> None:
    """Killed in the second of three rounds."""
    hold = HOLD.replace("item", "round")
    stage.write(
        "jobs.toml",
        f"[jobs.work]\nshell = '''{hold}'''\nrepeat = {{ until = '{{{{ round == 3 }}}}', max = 5, must = true }}\n",
    )
    stage.write("hold-2", "")
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.ran(2)
    stage.kill_all()
    (stage.project / "hold-2").unlink()


def updated(stage: Stage) -> None:
    """An edited file was taken into it, and it was killed again."""
    text = f"[run]\nslots = 1\n[jobs.work]\nfor_each = LIST\nshell = '''{HOLD}'''\n"
    stage.write("jobs.toml", text.replace("LIST", "['a', 'b', 'c']"))
    stage.write("hold-b", "")
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.ran(2)
    stage.kill_all()
    (stage.project / "hold-b").unlink()
    stage.write("hold-x", "")
    stage.write("jobs.toml", text.replace("LIST", "['a', 'x', 'c', 'd']"))
    stage.start("resume", RUN, "--update")
    stage.ran(3)
    stage.kill_all()
    (stage.project / "hold-x").unlink()


def selected(stage: Stage) -> None:
    """One item of three, and the rest is left out."""
    stage.write("jobs.toml", f"[jobs.work]\nfor_each = ['a', 'b', 'c']\nshell = '''{HOLD}'''\n")
    stage.run("--only", "work:1")


def child(stage: Stage) -> None:
    """A run and the child run of its item were killed."""
    stage.write("jobs.toml", "[jobs.go]\nworkflow = 'child.toml'\ninputs = { names = ['a', 'b'] }\n")
    stage.write(
        "child.toml",
        f"inputs.names = []\n[run]\nslots = 1\n[jobs.work]\nfor_each = '{{{{ inputs.names }}}}'\nshell = '''{HOLD}'''\n",
    )
    stage.write("hold-b", "")
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.ran(2)
    stage.kill_all()
    (stage.project / "hold-b").unlink()


AGENT = """
agent = "demo"
permissions = "edit"
prompt = '''
append ran.txt: {{ item }}
say about {{ item }}
{% if item == "c" %}sleep 2{% endif %}
append ended.txt: {{ item }}
'''
"""


def agents(stage: Stage) -> None:
    """Two have answered, one of them after its check had failed; the third was killed in its session."""
    stage.write(
        "jobs.toml",
        f"""
[run]
slots = 1
budget_usd = 5.0

[jobs.ask]
for_each = ["a", "b", "c"]
model = "demo-1"
attempts = 2
check = "echo {{{{ item }}}} >> checked.txt; test $(grep -c . checked.txt) -ne 2"
{AGENT}
""",
    )
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.wait(lambda: "c" in (stage.project / "ran.txt").read_text())
    time.sleep(0.3)  # its session is noted by then
    stage.kill_all()


def worktrees(stage: Stage) -> None:
    """Three items in worktrees of their own: two are committed, the third was killed at work."""
    stage.write("jobs.toml", f"[run]\nslots = 1\n[jobs.port]\nfor_each = ['a', 'b', 'c']\nworkspace = 'worktree'\n{AGENT}")
    stage.write("README", "a project\n")
    stage.sh("git init -q --template= -b main; git add README; git commit -q -m begin")
    stage.start("run", "jobs.toml", "--run-id", RUN)
    stage.wait(lambda: (stage.home / "runs" / RUN / "workspaces" / "port" / "2" / "ran.txt").read_text())
    stage.kill_all()


def limited(stage: Stage) -> None:
    """The account has reached its usage limit, and the run waits for that as long as it is paused."""
    stage.write(
        "jobs.toml",
        """
[jobs.ask]
agent = "demo"
on_usage_limit = "pause"
permissions = "edit"
prompt = '''
append ran.txt: begun
fail usage_limit 300
say so much for that
'''
""",
    )
    stage.run(exit_code=3)


def retried(stage: Stage) -> None:
    """An item was asked for once more, with feedback and another model, and its session was killed; a budget was raised."""
    stage.write("jobs.toml", f"[run]\nbudget_usd = 1.0\n[jobs.ask]\nfor_each = ['a', 'b']\nworkspace = 'copy'\n{AGENT}")
    stage.run()
    stage.cli("set", RUN, "budget_usd=2.5")
    stage.start("retry", RUN, "ask:1", "--feedback", "sleep 1.5", "--model", "demo-2")
    stage.wait(stage.item_is("ask:1", "running"))
    stage.kill_all()


def replayed(stage: Stage) -> None:
    """What a run's agents did was archived, and played by another."""
    text = "[jobs.ask]\nfor_each = ['a', 'b']\nagent = 'demo'\nprompt = 'say about {{ item }}'\n"
    stage.write("jobs.toml", text)
    stage.run(run_id="paid")
    stage.cli("capsule", "paid", "-o", "paid.tar.gz")
    stage.run("--replay", "paid.tar.gz")


def several_checkpoints(stage: Stage) -> None:
    """Interrupted in its third session: the journal is of a later generation, the checkpoint tells what was before."""
    interrupted(stage)
    stage.write("hold-e", "")
    stage.start("resume", RUN)
    stage.ran(6)
    stage.cli("flush", RUN)
    stage.wait(stage.item_is("work:3", "succeeded"))
    stage.kill_all()
    (stage.project / "hold-e").unlink()


STORIES: dict[str, list[Callable[[Stage], None]]] = {
    "1-commands": [finished, interrupted, several_checkpoints, stopped],
    "2-tokens": [interrupted, tokens],
    "3-gates": [gate, loop, updated, selected, child],
    "4-agents": [interrupted, agents],
    "5-workspaces": [several_checkpoints, agents, worktrees, limited, retried, replayed],
    "6-bare-commits": [interrupted, several_checkpoints],
}


def main() -> None:
    version, *names = sys.argv[1:]
    for story in STORIES[version]:
        if names and story.__name__ not in names:
            continue
        stage = Stage()
        try:
            story(stage)
            stage.save(HERE / version / story.__name__)
        finally:
            stage.kill_all()
        sys.stderr.write(f"{version}/{story.__name__}\n")


if __name__ == "__main__":
    main()
