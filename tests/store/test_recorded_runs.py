"""Old state always loads: runs that earlier versions recorded are told as those told them, and go on to their end.

Nothing of an old run is lost, no item that had succeeded runs again, and what a later version wrote is left as it is.
"""

from __future__ import annotations

import gzip
import json
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from drivers.recorded_runs import NAMES, PLACE, RUN, bytes_of, copy_recording, lay_out, told_by_old_program

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.preparer import Preparer
from orchestrator.cli.entry import main
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.known_runs import list_runs
from orchestrator.store.load import read_history
from orchestrator.store.records import Status
from orchestrator.store.settings_records import Selection
from orchestrator.system.wording import iso_time
from orchestrator.workers.log import parse_log

Cli = Callable[..., tuple[int, str]]

TIMES = ("started_at", "finished_at")
FINISHED = {"1-commands/finished", "5-workspaces/replayed"}


@pytest.fixture
def cli(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """A command line in this very process, in the recorded project: its exit code, and all that it said.

    With a process for each, these tests would start Python two hundred times to read a few lines.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path / "project")
        capfd.readouterr()
        code = main(list(words))
        told = capfd.readouterr()
        return code, told.out + told.err

    assert home.parent == tmp_path
    return call


def with_times_as_now(told: Any) -> Any:
    """What an old program told, its times as ISO 8601, which were numbers then."""
    match told:
        case dict():
            return {key: iso_time(each) if key in TIMES and each else with_times_as_now(each) for key, each in told.items()}
        case list():
            return [with_times_as_now(each) for each in told]
        case _:
            return told


@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_of_an_old_run_load_and_stay_as_they_are(name: str, tmp_path: Path) -> None:
    copy_recording(name, tmp_path)
    before = bytes_of(tmp_path)
    runs = list_runs(tmp_path / "home")
    assert RUN in [run.run_id for run in runs]
    for run in runs:
        assert read_history(run).jobs
        for log in run.path.glob("workers/*/log"):
            data = log.read_bytes()
            assert len(parse_log(data)) == len([line for line in data.split(b"\n") if line]), (
                "each line of a worker's log is understood"
            )
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize("name", NAMES)
def test_an_old_run_is_told_as_its_own_program_told_it(name: str, home: Path, tmp_path: Path, cli: Cli) -> None:
    lay_out(name, tmp_path)
    told = with_times_as_now(told_by_old_program(name, tmp_path))
    before = bytes_of(home)

    status = json.loads(cli("status", RUN, "--json")[1])
    if told["status"]["cost_usd"] is None:  # it was not counted yet; what the records tell of it is known now
        told["status"]["cost_usd"] = status["cost_usd"]
    if told["status"].get("ledger"):  # what a later program tells besides was none then
        assert status["ledger"].pop("unknown_paid_twice") == 0
    assert {key: status[key] for key in told["status"]} == told["status"]
    results = json.loads(cli("results", RUN, "--json")[1])
    for now, old in zip(results, told["results"], strict=True):
        assert {key: now[key] for key in old} == old
    for item in {*list(told["logs"])[:1], *list(told["logs"])[-1:]}:
        assert cli("logs", RUN, item)[1] == told["logs"][item]
    listed = {each["run_id"]: each["status"] for each in json.loads(cli("list", "--json")[1])}
    assert listed[RUN] == told["status"]["status"]

    assert bytes_of(home) == before, "a reader changes nothing"
    assert stat.S_IMODE(home.stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"5-workspaces/worktrees"}))
def test_what_an_old_item_did_is_the_same_work_to_the_present_program(name: str, tmp_path: Path) -> None:
    """Else a token would have its work done again, and a resume would call stale what has not changed.

    Left out: worktrees, where the repository is part of the work, and cannot lie where it was recorded.
    """
    copy_recording(name, tmp_path)
    for run in list_runs(tmp_path / "home"):
        reader = RunReader.read(run)
        contexts = ItemContexts(reader, reader.history.header.inputs)
        everything = Selector(Selection(), reader.jobs_file.jobs)
        preparer = Preparer(reader, contexts, Loops(reader, contexts), reader.jobs_file, everything)
        for job in reader.jobs_file.jobs:
            past = reader.history.jobs[job.id]
            for index in past.indices(Status.SUCCEEDED):
                ended = past.last_end(index)
                assert ended is not None
                assert preparer.is_same(job, index, ended), f"{run.run_id} {job.id}:{index}"


class Way(NamedTuple):
    """How a recording goes on: what is asked `first`, with which options it is resumed.

    `ran`: the items that have witnessed in the end, each once in its life; `again`: those of them that had begun and not
    succeeded, and so ran once more. `outputs` of items that have come since.
    """

    ran: str = ""
    again: str = ""
    first: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    outputs: tuple[tuple[str, Any], ...] = ()


WAYS = {
    "1-commands/interrupted": Way("a b c d e", again="d", outputs=(("work:2", "did c"), ("work:3", "did d"))),
    "1-commands/several_checkpoints": Way("a b c d e", again="d e", outputs=(("work:4", "did e"),)),
    "1-commands/stopped": Way("a b c", again="b"),
    "2-tokens/interrupted": Way("a b c d e", again="d"),
    "2-tokens/tokens": Way("a b", again="b", outputs=(("fetch:1", "did b"), ("sizes:1", "5"))),
    "3-gates/gate": Way(
        "draft send", again="draft", first=("approve", RUN, "ship"), outputs=(("send", "sent: dear all name the year"),)
    ),
    "3-gates/loop": Way("1 2 3", again="2", outputs=(("work", "did 3"),)),
    "3-gates/updated": Way("a b c x d", again="c", outputs=(("work:3", "did x"),)),
    "3-gates/selected": Way("a b c", resume=("--all",), outputs=(("work:0", "did a"),)),
    "3-gates/child": Way("a b", again="b"),
    "4-agents/interrupted": Way("a b c d e", again="d"),
    "4-agents/agents": Way("a b c"),
    "5-workspaces/several_checkpoints": Way("a b c d e", again="d e"),
    "5-workspaces/agents": Way("a b c"),
    "5-workspaces/limited": Way("begun"),
    "5-workspaces/worktrees": Way(),
    "5-workspaces/retried": Way(),
    "6-bare-commits/interrupted": Way("a b c d e", again="d", outputs=(("work:2", "did c"), ("work:3", "did d"))),
    "6-bare-commits/several_checkpoints": Way("a b c d e", again="d e", outputs=(("work:4", "did e"),)),
    "7-queued-starts/queued": Way(" ".join(map(str, range(40)))),
}

KEPT = (
    "status",
    "attempts",
    "started_at",
    "finished_at",
    "output",
    "stdout",
    "exit_code",
    "session_id",
    "commit",
    "deduped_from",
)
"""What of a succeeded item's result no resume changes."""


def ran(folder: Path) -> Counter[str]:
    """How often each item has witnessed that it ran."""
    path = folder / "project" / "ran.txt"
    return Counter(path.read_text().split() if path.exists() else [])


def test_each_recording_that_has_not_ended_is_resumed_here() -> None:
    assert set(NAMES) == set(WAYS) | FINISHED


@pytest.mark.parametrize("name", sorted(WAYS))
def test_an_old_run_goes_on_to_its_end_and_repeats_nothing_that_had_succeeded(name: str, tmp_path: Path, cli: Cli) -> None:
    lay_out(name, tmp_path)
    way = WAYS[name]
    if way.first:
        assert cli(*way.first)[0] in (0, 3)
    code, said = cli("resume", RUN, *way.resume)
    assert code == 0, said

    assert ran(tmp_path) == Counter(way.ran.split()) + Counter(way.again.split())
    results = {each["item"]: each for each in json.loads(cli("results", RUN, "--json")[1])}
    for old in with_times_as_now(told_by_old_program(name, tmp_path)["results"]):
        if old["status"] == "succeeded":
            now = results[old["item"]]
            assert {key: now[key] for key in KEPT} == {key: old[key] for key in KEPT}, f"{old['item']} ran again"
    assert {item: results[item]["output"] for item, _ in way.outputs} == dict(way.outputs)


def later(path: Path) -> None:
    """A later version has written the file: another format, and something that nobody knows yet."""
    data = path.read_bytes()
    is_packed = data.startswith(b"\x1f\x8b")
    text = gzip.decompress(data) if is_packed else data
    for old in (b'"format":1,', b'"format": 1,'):
        text = text.replace(old, b'"format":2,', 1)
    if b'"format":2,' not in text:  # of a token: what tells no format has format 1
        text = text.replace(b"{", b'{"format":2,"news":true,', 1)
    path.write_bytes(gzip.compress(text) if is_packed else text)


class Later(NamedTuple):
    """A file that tells its format: in which recording it lies, and what is said of a later one to whom asks `command`."""

    recording: str
    files: str
    command: tuple[str, ...]
    exit_code: int
    said: str


LATER = {
    "checkpoint": Later("1-commands/interrupted", "home/runs/recorded/checkpoint.json", ("resume", RUN), 2, "format 2 is newer"),
    "checkpoint read": Later(
        "1-commands/finished", "home/runs/recorded/checkpoint.json", ("status", RUN), 2, "format 2 is newer"
    ),
    "journal": Later("1-commands/interrupted", "home/runs/recorded/journal-*.jsonl", ("resume", RUN), 2, "format 2 is newer"),
    "journal read": Later("4-agents/agents", "home/runs/recorded/journal-*.jsonl", ("results", RUN), 2, "format 2 is newer"),
    "token": Later("2-tokens/tokens", "home/tokens/*.json", ("resume", RUN), 1, "of a newer format (2)"),
    "limit": Later("5-workspaces/limited", "home/limits/*.json", ("resume", RUN), 0, "completed"),
    "capsule": Later(
        "5-workspaces/replayed", "project/paid.tar.gz", ("run", "jobs.toml", "--replay", "paid.tar.gz"), 2, "has format 2"
    ),
    "capsule of a run": Later(
        "5-workspaces/replayed", "home/runs/recorded/capsule/capsule.json", ("retry", RUN, "ask:0"), 2, "has format 2"
    ),
}


@pytest.mark.parametrize("kind", LATER)
def test_what_a_later_version_wrote_is_refused_and_left_as_it_is(kind: str, tmp_path: Path, cli: Cli) -> None:
    case = LATER[kind]
    lay_out(case.recording, tmp_path)
    files = sorted(tmp_path.glob(case.files))
    for path in files:
        later(path)
    before = {path: path.read_bytes() for path in files}
    assert before

    code, said = cli(*case.command)

    assert (code, case.said in said) == (case.exit_code, True), said
    assert {path: path.read_bytes() for path in files} == before


def test_a_recording_is_laid_out_without_a_trace_of_where_it_was_made(tmp_path: Path) -> None:
    for name in NAMES:
        lay_out(name, tmp_path / name)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "outputs" not in path.parts and PLACE in path.read_bytes()]
    assert left == []
