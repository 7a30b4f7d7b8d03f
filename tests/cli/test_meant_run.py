"""Which run a command line means that names none, and which of its words are items."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended, header

from orchestrator.cli.entry import main
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.meant_run import newest_here, only_living, run_and_item, run_and_item_or_all, run_and_items, run_to_steer
from orchestrator.errors import UserError
from orchestrator.reading.item_names import find_items
from orchestrator.store.run_dir import create_run_dir
from orchestrator.store.run_store import RunStore


@pytest.fixture
def invocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invocation:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "home").mkdir(mode=0o700)
    found = Invocation()
    found.home_option = str(tmp_path / "home")
    return found


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """The locks of runs that go on."""
    with ExitStack() as stack:
        yield stack


def begun(invocation: Invocation, run_id: str, created_at: float, held: ExitStack | None = None, **told: object) -> None:
    """A run of the jobs `port` (a fan-out) and `ship`; `held`: it goes on."""
    run_dir = create_run_dir(invocation.home(), run_id)
    jobs = {"port": True, "ship": False}
    head = msgspec.structs.replace(header(run_id, created_at), jobs=jobs, folder=str(Path.cwd()), **told)
    RunStore.create(run_dir, head, "[jobs]\n").close()
    if held is not None:
        fcntl.flock(held.enter_context(run_dir.supervisor_lock.open("w")), fcntl.LOCK_EX)


LEFT_OUT = [
    ((), ("new", ())),
    (("port:0",), ("new", ("port:0",))),
    (("new", "port:0"), ("new", ("port:0",))),
    (("old",), ("old", ())),
    (("20261130",), ("20261130-101112-ab2c", ())),
    (("ab2c", "ship"), ("20261130-101112-ab2c", ("ship",))),
    (("nightly",), ("old", ())),
]


def test_the_first_word_is_a_run_if_it_can_be_one_and_else_an_item_of_the_newest(invocation: Invocation) -> None:
    begun(invocation, "old", 1.0, name="nightly")
    begun(invocation, "20261130-101112-ab2c", 2.0)
    begun(invocation, "new", 3.0)
    for words, (run_id, items) in LEFT_OUT:
        meant = run_and_items(invocation, words)
        assert (meant.run_dir.run_id, meant.words) == (run_id, items), words
    assert run_and_items(invocation, ("old", "x"), most=1).run_dir.run_id == "old"
    assert run_and_item(invocation, (None, "ship")).words == run_and_item(invocation, ("new", "ship")).words
    with pytest.raises(UserError, match="which item"):
        run_and_item(invocation, (None, None))


def test_why_without_an_item_is_about_a_whole_run(invocation: Invocation, capsys: pytest.CaptureFixture[str]) -> None:
    begun(invocation, "old", 1.0, name="nightly")
    begun(invocation, "new", 2.0)
    for words, (run_id, items) in [
        ((None, None), ("new", ())),
        (("nightly", None), ("old", ())),
        (("ship", None), ("new", ("ship",))),
        (("nightly", "ship"), ("old", ("ship",))),
    ]:
        meant = run_and_item_or_all(invocation, words)
        assert (meant.run_dir.run_id, meant.words) == (run_id, items), words
    # Where nothing failed it is what has not run.
    assert main(["why", "--home", str(invocation.home()), "nightly"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("port of run old has no items (pending)\nship of run old is pending\n"), told


def test_with_last_each_word_is_an_item(invocation: Invocation) -> None:
    begun(invocation, "old", 1.0)
    begun(invocation, "new", 2.0)
    invocation.is_last = True
    assert run_and_items(invocation, ("old",)).words == ("old",)
    assert run_to_steer(invocation, None).run_id == "new"
    with pytest.raises(UserError, match="cannot both be given"):
        run_to_steer(invocation, "old")


def test_what_changes_something_takes_the_only_run_that_it_can_mean(
    invocation: Invocation, held: ExitStack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(invocation, "done", 1.0)
    with pytest.raises(UserError, match=r"which run\? None goes on"):
        run_to_steer(invocation, None)
    begun(invocation, "lives", 2.0, held)
    begun(invocation, "lives.port.0", 3.0, held, parent="lives/port:0")
    begun(invocation, "new", 4.0)
    assert run_to_steer(invocation, None).run_id == "lives"
    assert capsys.readouterr().err == "note: run lives is the only one that goes on\n"
    assert run_and_items(invocation, ("port:0",), newest_here).run_dir.run_id == "new"
    # A word that is a run by its name, and a job, is neither; the id of a run is no item.
    begun(invocation, "other", 5.0, name="ship")
    with pytest.raises(UserError, match="'ship' is run other, and an item of run other"):
        run_and_items(invocation, ("ship",), newest_here)
    assert run_and_items(invocation, ("other",), newest_here).words == ()
    begun(invocation, "second", 6.0, held)
    with pytest.raises(UserError, match=r"which run\? 2 go on: second, lives"):
        run_and_items(invocation, (), only_living)
    # Somewhere else the newest run is hardly meant.
    monkeypatch.chdir("/proc")
    with pytest.raises(UserError, match=r"The newest, second \(port\), works in .*project, not here"):
        run_and_items(invocation, (), newest_here)


GATE = '[run]\nslots = 0\n[jobs.{0}]\ngate = "go?"\n'


def test_a_gate_is_answered_in_the_only_run_that_waits_at_it(
    invocation: Invocation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATE_HOME", str(invocation.home()))
    for run_id, gate in (("a", "ship"), ("b", "push")):
        Path(f"{gate}.toml").write_text(GATE.format(gate))
        assert main(["run", f"{gate}.toml", "--run-id", run_id, "--quiet"]) == 3
    capsys.readouterr()
    assert main(["approve"]) == 2
    assert capsys.readouterr().err == "orchestrate: which gate? push of run b asks: go?\n  orchestrate approve b push\n"
    assert main(["approve", "ship"]) == 0
    told = capsys.readouterr()
    assert told.out == "ship: answered; go on with: orchestrate resume a\n"
    assert told.err == "note: run a is the only one that waits at 'ship'\n"
    assert main(["approve", "ship"]) == 2, "it waits no more"
    assert main(["approve", "b"]) == 2
    assert "which gate?\n  orchestrate status b" in capsys.readouterr().err
    assert main(["run", "push.toml", "--run-id", "c", "--quiet"]) == 3
    assert main(["approve", "push"]) == 2
    assert "which run? 2 wait at 'push': c, b" in capsys.readouterr().err


ITEMS = '[jobs.port]\nfor_each = ["x"]\ncommand = ["true"]\n[jobs.test]\nfor_each = ["x"]\ncommand = ["true"]\n'
UNKNOWN = [
    ("both", "'both' is the label of 2 items: port:1, test:0"),
    ("onyl", "no item 'onyl'; did you mean only?"),
    ("port:7", "port has 3 items, port:0 to port:2"),
    ("port:bth", "did you mean port:both?"),
    ("prot:0", "did you mean port?"),
]


def test_a_label_that_one_item_has_names_the_item_and_what_names_none_is_told_what_there_is() -> None:
    records = MemoryRecords(ITEMS)
    records.list_items("port", ["only", "both", "a[1]"])
    records.list_items("test", ["both"])
    assert find_items(records, "only") == [("port", 0)]
    assert find_items(records, "a[1]") == [("port", 2)]
    assert find_items(records, "p*:both") == [("port", 1)]
    for reference, told in UNKNOWN:
        with pytest.raises(UserError) as caught:
            find_items(records, reference)
        assert told in f"{caught.value.message}\n{caught.value.hint}", reference
    records.append(ended(0, job="test"))
    assert find_items(records, "file 0") == [("test", 0)], "what the item was called when it ran"
