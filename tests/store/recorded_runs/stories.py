"""What is recorded, by version: each story leaves a run as that program left it when nobody ran any more."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
from stage import RUN, Stage, is_ours

HOLD = 'echo {{ item }} >> ran.txt; while [ -e "hold-"{{ item }} ]; do sleep 0.02; done; echo did {{ item }}'
"""Witnesses that it ran, and goes on until `hold-ITEM` is gone."""


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
    [process] = [each for each in psutil.process_iter() if is_ours(each) and "echo 'd' " in " ".join(each.cmdline())]
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


def queued(stage: Stage) -> None:
    """Starts of short items are queued: one began and lasted, so others were given back; then the supervisor was killed while
    some were queued behind another that lasts."""
    items = [str(index) for index in range(40)]
    shell = HOLD.partition("; echo did")[0]
    stage.write("jobs.toml", f"[run]\nslots = 1\n[jobs.work]\nfor_each = {items}\nshell = '''{shell}'''\n")
    stage.write("hold-25", "")
    stage.write("hold-30", "")
    # So long may a queue last.
    stage.faults = "queue.seconds=3"
    stage.start("run", "jobs.toml", "--run-id", RUN)
    journal = stage.home / "runs" / RUN / "journal-1.jsonl"
    stage.wait(lambda: '"type":"returned"' in journal.read_text())
    (stage.project / "hold-25").unlink()
    stage.ran(31)
    stage.kill_supervisors()
    log = stage.home / "runs" / RUN / "workers" / "0" / "log"
    stage.wait(lambda: log.read_text().count('"returned"') > 1)
    (stage.project / "hold-30").unlink()
    stage.wait(stage.no_worker_left)
    stage.faults = ""


STORIES: dict[str, list[Callable[[Stage], None]]] = {
    "1-commands": [finished, interrupted, several_checkpoints, stopped],
    "2-tokens": [interrupted, tokens],
    "3-gates": [gate, loop, updated, selected, child],
    "4-agents": [interrupted, agents],
    "5-workspaces": [several_checkpoints, agents, worktrees, limited, retried, replayed],
    "6-bare-commits": [interrupted, several_checkpoints],
    "7-queued-starts": [queued],
}
