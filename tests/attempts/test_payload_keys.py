"""Which keys of a job make its work another: each key is changed once, and the payload must change if `PAYLOAD_KEYS` says so."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from drivers.store_samples import header
from drivers.sweeps import telling

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.preparer import Preparer
from orchestrator.jobsfile.keys import ACTIONS, KEYS_OF_A_GATE, PAYLOAD_KEYS, JobTable
from orchestrator.jobsfile.language.decode import fields_of
from orchestrator.jobsfile.load import load_text
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.places import JOURNAL
from orchestrator.store.records import ItemsListed
from orchestrator.store.run_dir import create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import Selection

COMMAND = 'command = ["true"]'
AGENT = 'agent = "demo"\nprompt = "go on"'
CHILD = 'workflow = "child.toml"'

CHANGED: dict[str, tuple[str, str]] = {
    "command": (COMMAND, 'command = ["false"]'),
    "shell": ('shell = "one"', 'shell = "other"'),
    "agent": (AGENT, 'agent = "claude"\nprompt = "go on"'),
    "workflow": (CHILD, 'workflow = "other.toml"'),
    "land": ('land = "before"', 'land = "also"'),
    "inputs": (f"{CHILD}\ninputs = {{ one = 1 }}", f"{CHILD}\ninputs = {{ one = 2 }}"),
    "needs": (COMMAND, f'{COMMAND}\nneeds = ["before"]'),
    "when": (COMMAND, f'{COMMAND}\nwhen = "{{{{ true }}}}"'),
    "for_each": (f"{COMMAND}\nfor_each = [1]", f"{COMMAND}\nfor_each = [1, 2]"),
    "label": (COMMAND, f'{COMMAND}\nlabel = "called otherwise"'),
    "max_concurrency": (COMMAND, f"{COMMAND}\nmax_concurrency = 3"),
    "lane": (COMMAND, f'{COMMAND}\nlane = "fast"'),
    "pool": (COMMAND, f'{COMMAND}\npool = "models"'),
    "devices": (COMMAND, f'{COMMAND}\ndevices = ["0", "1"]'),
    "priority": (COMMAND, f"{COMMAND}\npriority = 3"),
    "repeat": (f'{COMMAND}\nrepeat = {{ until = "{{{{ true }}}}" }}', f'{COMMAND}\nrepeat = {{ until = "{{{{ 1 > 2 }}}}" }}'),
    "continue_on_error": (COMMAND, f"{COMMAND}\ncontinue_on_error = true"),
    "max_failures": (COMMAND, f"{COMMAND}\nmax_failures = 3"),
    "halt": (COMMAND, f"{COMMAND}\nhalt = 'now'"),
    "attempts": (COMMAND, f"{COMMAND}\nattempts = 3"),
    "retry": (COMMAND, f'{COMMAND}\nretry = "3s"'),
    "timeout": (COMMAND, f'{COMMAND}\ntimeout = "3s"'),
    "stall_timeout": (COMMAND, f'{COMMAND}\nstall_timeout = "3s"'),
    "grace": (COMMAND, f'{COMMAND}\ngrace = "3s"'),
    "memory": (COMMAND, f'{COMMAND}\nmemory = "3GiB"'),
    "max_output": (COMMAND, f'{COMMAND}\nmax_output = "3MiB"'),
    "ok_exit_codes": (COMMAND, f"{COMMAND}\nok_exit_codes = [2]"),
    "shell_program": ('shell = "one"', 'shell = "one"\nshell_program = ["bash", "-ec"]'),
    "cwd": (COMMAND, f'{COMMAND}\ncwd = "below"'),
    "env": (COMMAND, f'{COMMAND}\nenv = {{ CI = "1" }}'),
    "stdin": (COMMAND, f'{COMMAND}\nstdin = "words"'),
    "output": (COMMAND, f'{COMMAND}\noutput = "json"'),
    "creates": (COMMAND, f'{COMMAND}\ncreates = "made"'),
    "sources": (f'{COMMAND}\ncreates = "made"', f'{COMMAND}\ncreates = "made"\nsources = ["in"]'),
    "creates_when": (f'{COMMAND}\ncreates = "made"', f'{COMMAND}\ncreates = "made"\ncreates_when = "changed"'),
    "token": (COMMAND, f'{COMMAND}\ntoken = "work"'),
    "token_ttl": (f'{COMMAND}\ntoken = "work"', f'{COMMAND}\ntoken = "work"\ntoken_ttl = "3s"'),
    "if_running": (f'{COMMAND}\ntoken = "work"', f'{COMMAND}\ntoken = "work"\nif_running = "reject"'),
    "if_done": (f'{COMMAND}\ntoken = "work"', f'{COMMAND}\ntoken = "work"\nif_done = "rerun"'),
    "if_changed": (f'{COMMAND}\ntoken = "work"', f'{COMMAND}\ntoken = "work"\nif_changed = "reject"'),
    "prompt": (AGENT, 'agent = "demo"\nprompt = "stop"'),
    "prompt_file": ('agent = "demo"\nprompt_file = "one.md"', 'agent = "demo"\nprompt_file = "other.md"'),
    "model": (AGENT, f'{AGENT}\nmodel = "small"'),
    "permissions": (AGENT, f'{AGENT}\npermissions = "edit"'),
    "args": (AGENT, f'{AGENT}\nargs = ["--more"]'),
    "max_turns": (AGENT, f"{AGENT}\nmax_turns = 3"),
    "schema": (AGENT, f'{AGENT}\nschema = "answer.json"'),
    "expect": (AGENT, f'{AGENT}\nexpect = "answer"'),
    "resume_session": (AGENT, f"{AGENT}\nresume_session = false"),
    "resume_prompt": (AGENT, f'{AGENT}\nresume_prompt = "on"'),
    "retry_prompt": (AGENT, f'{AGENT}\nretry_prompt = "again"'),
    "budget_usd": (AGENT, f"{AGENT}\nbudget_usd = 3"),
    "budget_tokens": (AGENT, f"{AGENT}\nbudget_tokens = 3"),
    "estimate_usd": (AGENT, f"{AGENT}\nestimate_usd = 3"),
    "on_usage_limit": (AGENT, f'{AGENT}\non_usage_limit = "pause"'),
    "fallback": (AGENT, f'{AGENT}\nfallback = ["claude"]'),
    "pass_env": (AGENT, f'{AGENT}\npass_env = ["CI"]'),
    "control": (COMMAND, f"{COMMAND}\ncontrol = true"),
    "workspace": (COMMAND, f'{COMMAND}\nworkspace = "temp"'),
    "check": (COMMAND, f'{COMMAND}\ncheck = "true"'),
    "artifacts": (COMMAND, f'{COMMAND}\nartifacts = ["made/*"]'),
}
"""Key -> a job, and the same job with another value of the key. Both have to load."""

FILE = """
[pools.models]
slots = 2
[jobs.before]
shell = "true"
workspace = "copy"
[jobs.also]
shell = "true"
workspace = "copy"
[jobs.work]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("child", "other"):
        (folder / f"{name}.toml").write_text('inputs.one = 0\n[jobs.a]\nshell = "true"\n')
    for name in ("one", "other"):
        (folder / f"{name}.md").write_text(f"do the {name}")
    (folder / "answer.json").write_text('{"type": "object"}')
    return folder


def payload(folder: Path, job: str) -> str:
    """Of the first item of the job, in a run that has just begun."""
    file = load_text(FILE + job, path=str(folder / "jobs.toml"), folder=str(folder))
    home = Path(tempfile.mkdtemp(dir=folder.parent))
    jobs = {each.id: each.for_each is not None for each in file.jobs}
    run_dir = create_run_dir(home, "r1")
    store = RunStore.create(run_dir, msgspec.structs.replace(header("r1"), jobs=jobs, folder=str(folder)), "")
    try:
        store.history.apply(ItemsListed(job="work", count=1), JOURNAL, 0, 0)
        reader = RunReader(run_dir, store.history, alive=False)
        reader.jobs_file = file
        reader.suppose_list("work", [1])
        contexts = ItemContexts(reader, {})
        preparer = Preparer(reader, contexts, Loops(reader, contexts), file, Selector(Selection(), file.jobs))
        found = preparer.payload_of(next(each for each in file.jobs if each.id == "work"), 0)
    finally:
        store.close()
    assert found is not None, "it would not start"
    return found


def test_every_key_of_a_job_is_tried_here() -> None:
    of_gates_alone = KEYS_OF_A_GATE - CHANGED.keys()
    assert CHANGED.keys() | of_gates_alone == fields_of(JobTable).keys(), "say here what another value of the new key is"
    assert of_gates_alone.isdisjoint(PAYLOAD_KEYS), "a gate runs nothing"
    assert CHANGED.keys() >= PAYLOAD_KEYS
    assert set(ACTIONS) - PAYLOAD_KEYS == {"gate"}


def test_a_key_changes_the_payload_if_it_says_what_the_work_is(folder: Path) -> None:
    for key, (one, other) in CHANGED.items():
        with telling(key):
            assert (payload(folder, one) != payload(folder, other)) == (key in PAYLOAD_KEYS)


def test_a_number_that_no_payload_can_hold_is_a_mistake_of_the_item(folder: Path) -> None:
    with pytest.raises(AssertionError, match="it would not start"):
        payload(folder, f'{CHILD}\ninputs = {{ one = "{{{{ 2 ** 70 + index }}}}" }}\nfor_each = [1]')
