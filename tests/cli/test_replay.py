"""A capsule of a run, and the jobs file run against it: no agent starts, nothing is paid, and a changed check is really run."""

from __future__ import annotations

import json
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest
from drivers.command_line import RunCli
from drivers.sweeps import sweep

SECRET = "sk-ant-api03-0123456789abcdef0123"
JOBS = """
[jobs.port]
for_each = ["ada", "bob"]
agent = "demo"
workspace = "copy"
attempts = 2
retry = { delay = 0 }
prompt = '''
write out/{{ item }}.txt: hello SECRET
say ported {{ item }}
'''
check = "CHECK"

[jobs.count]
shell = "echo counted >> counted.txt; echo {{ jobs.port.outputs | length }}"
""".replace("SECRET", SECRET)
CHECK = "grep -q Hello out/{{ item }}.txt || { echo replace out/{{ item }}.txt: hello '->' Hello; exit 1; }"


class Project:
    """A folder with a jobs file, whose agents keep their sessions beside it."""

    def __init__(self, folder: Path, run_cli: RunCli) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        self.sessions = folder / "state" / "orchestrate-demo"
        self._run_cli = run_cli

    def write(self, check: str, text: str = JOBS) -> None:
        (self.folder / "jobs.toml").write_text(text.replace("CHECK", check))

    def told(self, *arguments: str, code: int = 0) -> str:
        """Stdout of a command that exits with `code`."""
        ended = self._run_cli(*arguments, cwd=self.folder)
        assert ended.returncode == code, ended.stderr
        return ended.stdout

    def summary(self, *arguments: str, code: int = 0) -> Any:
        """Of a run."""
        return json.loads(self.told("run", "jobs.toml", "--json", *arguments, code=code))

    def results(self) -> dict[str, dict[str, Any]]:
        """Of the newest run, by item."""
        return {each["item"]: each for each in json.loads(self.told("results", "jobs.toml", "--json"))}


@pytest.fixture
def project(tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Project(tmp_path, run_cli)


def test_a_capsule_is_replayed_with_another_check_for_no_money(project: Project) -> None:
    project.write(CHECK)
    paid = project.summary()
    first = project.results()
    assert [first[f"port:{index}"]["attempts"] for index in (0, 1)] == [2, 2]
    for name in ("one.tar.gz", "two.tar.gz"):
        project.told("capsule", "jobs.toml", "-o", name)
    archive = project.folder / "one.tar.gz"
    assert archive.read_bytes() == (project.folder / "two.tar.gz").read_bytes()
    with tarfile.open(archive) as tar:
        index = json.load(tar.extractfile("capsule.json"))  # type: ignore[arg-type]
        assert all(list(each["sums"]) == each["files"] for each in index["attempts"])
        assert not [each.name for each in tar if SECRET.encode() in tar.extractfile(each).read()]  # type: ignore[union-attr]
    sessions = {path.name: path.stat().st_mtime_ns for path in project.sessions.iterdir()}

    replayed = project.summary("--replay", "one.tar.gz")
    assert replayed["status"] == "completed"
    again = project.results()
    kept = ("status", "attempts", "output", "class", "session_id")
    assert [[again[item][field] for field in kept] for item in first] == [
        [first[item][field] for field in kept] for item in first
    ]
    assert (project.folder / "counted.txt").read_text() == "counted\n" * 2, "what is no agent really runs"
    patch = Path(again["port:0"]["patch"]).read_text()
    assert "+Hello [redacted:anthropic key]" in patch, "the recorded changes are made in the workspace"

    project.write("grep -q Goodbye out/{{ item }}.txt || { echo no goodbye for {{ item }}; exit 1; }")
    changed = project.summary("--replay", "one.tar.gz", "-k", code=1)
    assert changed["counts"] == {"failed": 2, "skipped": 1}, "what needs a failed job does not run with -k either"
    assert project.told("logs", "jobs.toml", "port:1").splitlines()[-1] == "[check] no goodbye for bob"
    ledger = replayed["ledger"]
    assert (ledger["attempts"], ledger["replayed"], ledger["saved_by_replay_usd"]) == (0, 4, paid["ledger"]["cost_usd"])
    assert sessions == {path.name: path.stat().st_mtime_ns for path in project.sessions.iterdir()}, "no agent was started"


def test_what_was_not_recorded_is_told_with_what_differs(project: Project) -> None:
    text = """
[jobs.ask]
for_each = ["a", "b"]
agent = "demo"
model = "small"
prompt = "Tell me of {{ item }} in {{ run.id }}."
"""
    project.write("", text)
    project.summary()
    first = project.results()
    project.told("capsule", "jobs.toml", "-o", "c.tar.gz")
    project.write(
        "", text.replace('["a", "b"]', '["b", "c", "a"]').replace('"small"', "\"{{ 'small' if item != 'a' else 'large' }}\"")
    )
    project.summary("--replay", "c.tar.gz", "-k", code=1)
    found = project.results()
    assert found["ask:0"]["status"] == "succeeded", "another place in the list makes no difference"
    missing = "not in the capsule of run " + Path(first["ask:0"]["stdout"]).parents[3].name
    assert found["ask:1"]["error"] == f"{missing}: prompt: another one"
    assert found["ask:2"]["error"] == f"{missing}: model: small was recorded, now it is large"
    assert [found[f"ask:{index}"]["attempts"] for index in (1, 2)] == [0, 0]


@pytest.mark.parametrize(
    "fault", sweep(["ORCHESTRATE_FAULT=supervisor.recorded:6", "ORCHESTRATE_WORKER_FAULT=worker.begun:2"], quick=1)
)
def test_a_replay_that_is_killed_goes_on_as_a_replay(fault: str, project: Project, run_cli: RunCli) -> None:
    project.write(CHECK)
    project.summary()
    project.told("capsule", "jobs.toml", "-o", "c.tar.gz")
    sessions = {path.name: path.stat().st_mtime_ns for path in project.sessions.iterdir()}
    variable, _, point = fault.partition("=")
    killed = run_cli("run", "jobs.toml", "--quiet", "--replay", "c.tar.gz", "-j", "1", cwd=project.folder, env={variable: point})
    if variable == "ORCHESTRATE_FAULT":
        assert killed.returncode == -signal.SIGKILL
        (project.folder / "c.tar.gz").unlink()
        project.told("resume", "jobs.toml")
    else:
        assert killed.returncode == 0, killed.stderr
    ledger = json.loads(project.told("status", "jobs.toml", "--json"))["ledger"]
    assert (ledger["attempts"], ledger["replayed"], ledger["cost_usd"]) == (0, 4, 0.0)
    found = project.results()
    assert [found[f"port:{index}"]["output"] for index in (0, 1)] == [
        "replaced 'hello' in out/ada.txt",
        "replaced 'hello' in out/bob.txt",
    ]
    assert sessions == {path.name: path.stat().st_mtime_ns for path in project.sessions.iterdir()}, "no agent was started"


def test_a_capsule_says_which_work_another_run_did(project: Project) -> None:
    text = '[jobs.ask]\nagent = "demo"\nprompt = "say hello"\ntoken = "ask"\ntoken_ttl = "1h"\n'
    project.write("", text)
    first = project.summary()["run_id"]
    second = project.summary()["run_id"]
    assert project.results()["ask"]["deduped_from"] == f"{first}/ask"
    told = json.loads(project.told("capsule", second, "--json"))
    assert (told["attempts"], told["missing"]) == (0, [f"ask, which {first}/ask did"])


def test_a_password_that_is_an_ordinary_word_spoils_no_capsule(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "attempts")
    text = '[jobs.attempts]\nfor_each = ["attempts left"]\nagent = "demo"\nprompt = "say {{ item }}: hello"\n'
    project.write("", text)
    project.summary()
    project.told("capsule", "jobs.toml", "-o", "c.tar.gz")
    with tarfile.open(project.folder / "c.tar.gz") as tar:
        index = json.load(tar.extractfile("capsule.json"))  # type: ignore[arg-type]
    assert [(each["job"], each["label"]) for each in index["attempts"]] == [("attempts", "[redacted:DB_PASSWORD] left")]
    assert project.summary("--replay", "c.tar.gz")["status"] == "completed"
