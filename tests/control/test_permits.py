"""Who may ask what of a run: the table of `permits`, by requesters made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from orchestrator.cli import main
from orchestrator.control import permits
from orchestrator.control.messages import Approve, CancelRequest, Explain, Request, StopRequest
from orchestrator.control.permits import TELLS, NotPermitted, check_permit, steers
from orchestrator.control.requester import Requester
from orchestrator.errors import ExitCode
from orchestrator.system.enclosing import Enclosing
from orchestrator.system.locks.travelling import try_lock
from orchestrator.system.process_chain import Process
from orchestrator.workers.locks import unlock

ITEM = Enclosing("r", "port:3", "/state/runs/r/workers/0")
CONTROL = Enclosing("r", "port:3", "/state/runs/r/workers/0", has_control=True)
REPLACE = CancelRequest([("go", 0)], replaced_by="other/port:1")
CHAIN = [Process(pid, "sh", pid, "", pid) for pid in (30, 20, 10)]


def asks(*inside: Enclosing, chain: list[Process] = CHAIN) -> Requester:
    return Requester(os.getuid(), tuple(chain), inside)


def is_permitted(requester: Requester, request: Request, folder: Path) -> bool:
    try:
        check_permit(requester, request, folder)
    except NotPermitted:
        return False
    return True


def test_of_all_requests_two_only_tell() -> None:
    """A new one steers, until somebody has thought about it here."""
    assert {each.__name__ for each in get_args(Request) if issubclass(each, TELLS)} == {"Explain", "CountWaiting"}
    assert (steers(Explain([])), steers(StopRequest())) == (False, True)


@pytest.mark.parametrize(
    ("requester", "may"),
    [
        (asks(), True),
        (asks(ITEM), False),
        (asks(CONTROL), True),
        (asks(CONTROL, ITEM), False),
        (asks(Enclosing("", "")), False),
        (asks(chain=[]), False),
    ],
    ids=["outside", "an item", "control", "an item in one with control", "by its mark alone", "gone"],
)
def test_who_may_steer(tmp_path: Path, requester: Requester, may: bool) -> None:
    assert is_permitted(requester, Explain([]), tmp_path), "everybody may look"
    assert is_permitted(requester, StopRequest(), tmp_path) == may
    assert is_permitted(requester, Approve([("gate", 0)]), tmp_path) == may


def test_the_refusal_says_who_asked_from_where_and_what_lets_it(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted) as raised:
        check_permit(asks(ITEM), StopRequest(), tmp_path)
    assert raised.value.message == "asked from inside item port:3 of run r: it may look, not steer"
    assert raised.value.hint == "control = true on its job lets it steer"
    assert raised.value.exit_code is ExitCode.USAGE


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """This process supervises the run `other`, and is in an item."""
    other = tmp_path / "runs" / "other"
    other.mkdir(parents=True)
    fd = try_lock(other / "supervisor.lock")
    assert fd is not None
    (other / "supervisor.json").write_text(json.dumps({"pid": os.getpid()}))
    monkeypatch.setattr(permits, "enclosing_attempts", lambda _chain: iter([ITEM]))
    yield os.getpid()
    unlock(fd)


def test_a_supervisor_in_an_item_may_replace_what_holds_its_token_and_nothing_else(tmp_path: Path, supervisor: int) -> None:
    own = Process(supervisor, "python3", supervisor, "", 2)
    command = Process(supervisor + 1, "python3", supervisor + 1, "", 3)
    target = tmp_path / "runs" / "target"
    assert is_permitted(asks(ITEM, chain=[command, own]), REPLACE, target)
    for refused in (
        CancelRequest([("go", 0)]),
        CancelRequest(replaced_by="other/port:1"),
        CancelRequest([("go", 0)], replaced_by="target/port:1"),
        CancelRequest([("go", 0)], replaced_by="none/port:1"),
        CancelRequest([("go", 0)], replaced_by="../runs/other/port:1"),
        CancelRequest([("go", 0)], replaced_by="../x"),
        StopRequest(),
    ):
        assert not is_permitted(asks(ITEM, chain=[command, own]), refused, target), refused
    agent = [Process(supervisor + place, "sh", 9, "", 9) for place in (3, 2)]
    assert not is_permitted(asks(ITEM, chain=[*agent, own]), REPLACE, target), "an item of that supervisor is not it"


def test_nothing_is_replaced_in_a_run_that_the_supervisor_is_nested_in(
    tmp_path: Path, supervisor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "runs" / "target"
    around = Enclosing("target", "go:1", str(target / "workers" / "0"))
    monkeypatch.setattr(permits, "enclosing_attempts", lambda _chain: iter([around]))
    own = Process(supervisor, "python3", supervisor, "", 2)
    assert not is_permitted(asks(around, chain=[own]), REPLACE, target)


def test_a_folder_that_is_no_run_has_no_supervisor_whatever_lies_in_it(tmp_path: Path, supervisor: int) -> None:
    """A name that leads elsewhere, and a run whose supervisor is gone: its number may be another's by now."""
    own = Process(supervisor, "python3", supervisor, "", 2)
    (tmp_path / "runs" / "gone").mkdir()
    held = []
    for name in ("", ".", "..", "target", "gone"):
        folder = tmp_path / "runs" / name
        folder.mkdir(exist_ok=True)
        (folder / "supervisor.json").write_text(json.dumps({"pid": supervisor}))
        held += [try_lock(folder / "supervisor.lock")] if name != "gone" else []
        request = CancelRequest([("go", 0)], replaced_by=f"{name}/port:1")
        assert not is_permitted(asks(ITEM, chain=[own]), request, tmp_path / "runs" / "target"), name
    for fd in filter(None, held):
        unlock(fd)


def test_an_agent_that_is_the_child_of_its_supervisor_replaces_nothing_and_that_itself_may(
    tmp_path: Path, supervisor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With slots = 0: the supervisor is the worker, too, and runs nothing while it asks."""
    chain = [Process(supervisor + 1, "agent", supervisor + 1, "", 3), Process(supervisor, "python3", supervisor, "", 2)]
    worker = str(tmp_path / "runs" / "other" / "workers" / "0")
    for around, may in ((Enclosing("other", "port:1", worker), False), (Enclosing("", "", worker), True)):
        monkeypatch.setattr(permits, "enclosing_attempts", lambda _chain, around=around: iter([around]))
        assert is_permitted(asks(around, chain=chain), REPLACE, tmp_path / "runs" / "target") == may


def test_a_lock_that_an_attempt_took_does_not_make_it_a_supervisor(tmp_path: Path, supervisor: int) -> None:
    (tmp_path / "runs" / "other" / "supervisor.json").write_text('{"pid": 1}')
    own = Process(supervisor, "python3", supervisor, "", 2)
    assert not is_permitted(asks(ITEM, chain=[own]), REPLACE, tmp_path / "runs" / "target")
    for note in ("", "[]", "\xff", "{}"):
        (tmp_path / "runs" / "other" / "supervisor.json").write_text(note)
        assert not is_permitted(asks(ITEM, chain=[own]), REPLACE, tmp_path / "runs" / "target")


def test_the_supervisor_of_the_run_above_may_steer_its_child_runs(
    tmp_path: Path, supervisor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Enclosing("other", "go:1", str(tmp_path / "runs" / "other" / "workers" / "0"))
    monkeypatch.setattr(permits, "enclosing_attempts", lambda _chain: iter([around]))
    parent = Process(supervisor, "python3", supervisor, "", 2)
    assert is_permitted(asks(ITEM, chain=[parent]), StopRequest(), tmp_path / "runs" / "child")
    assert not is_permitted(asks(ITEM), StopRequest(), tmp_path / "runs" / "child")


# The same without a supervisor.

STEERING: dict[str, list[str]] = {
    "approve": ["approve", "r", "g"],
    "set": ["set", "r", "budget_usd=9"],
    "cancel": ["cancel", "r"],
    "cancel an item": ["cancel", "r", "g"],
    "retry": ["retry", "r", "a", "--quiet"],
    "resume --update": ["resume", "r", "--update", "--quiet"],
    "prune": ["prune", "--older-than", "1d"],
    "tokens forget": ["tokens", "forget", "work"],
    "agents --forget-limits": ["agents", "--forget-limits"],
    "doctor --orphans --kill": ["doctor", "--orphans", "--kill"],
}


def test_without_a_supervisor_the_commands_refuse_the_same_in_an_item(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.toml").write_text('[jobs.a]\nshell = "true"\nwhen = "{{ false }}"\n[jobs.g]\ngate = "Go on?"\n')
    assert main(["run", "jobs.toml", "--run-id", "r", "--quiet"]) == 3
    whole = records(home)
    with monkeypatch.context() as inside:
        inside.setattr(permits, "this_process", lambda: asks(ITEM))
        for name, words in STEERING.items():
            capsys.readouterr()
            assert main(words) == 2, name
            told = capsys.readouterr().err
            assert "asked from inside item port:3 of run r: it may look, not steer" in told, told
            assert "control = true on its job lets it steer" in told
        assert records(home) == whole, "nothing was recorded"
        assert main(["status", "r"]) == main(["why", "r", "g"]) == main(["prune", "--older-than", "1d", "--dry-run"]) == 0
        # What is lost of a damaged run is shown, and nothing is made of it.
        (journal,) = (home / "runs" / "r").glob("journal-*.jsonl")
        journal.rename(tmp_path / "journal")
        capsys.readouterr()
        assert main(["doctor", "--salvage", "r"]) == 1
        assert main(["doctor", "--salvage", "r", "--yes"]) == 2
        assert "doctor --salvage: asked from inside item port:3 of run r" in capsys.readouterr().err
        (tmp_path / "journal").rename(journal)
        # What would replace the holder of a token may cancel that alone.
        inside.setattr(permits, "_replaces", lambda *_: True)
        capsys.readouterr()
        assert main(["cancel", "r", "g", "--replaced-by", "other/x"]) == 2
        assert "run r: g:0 has no token that other/x could take" in capsys.readouterr().err
        assert records(home) == whole
        inside.setattr(permits, "this_process", lambda: asks(CONTROL))
        assert main(["approve", "r", "g"]) == 0
    capsys.readouterr()
    assert main(["why", "r", "g", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["answered"]["choice"] == "approve"
    assert told["answered"]["by"]["pid"] == os.getpid()
    assert main(["why", "r", "g"]) == 0
    assert f"process {os.getpid()}" in capsys.readouterr().out


def records(home: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (home / "runs" / "r").glob("journal-*.jsonl")}
