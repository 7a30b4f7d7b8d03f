"""Checkpoints of a run's store: what stays on disk when one fails, and what a later reader may find."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from drivers.store_samples import LISTED, ended, started

from orchestrator.control.messages import RetryRequest
from orchestrator.errors import StateRefusedError, StateUnwritableError, UserError
from orchestrator.store import durable_file, lines
from orchestrator.store.checkpoint import read_header
from orchestrator.store.durable_file import write_durably
from orchestrator.store.load import read_history
from orchestrator.store.records import CancelTold, ItemsChosen, ItemSettled, Reopened, RetryAsked, RunEnded, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import JOURNAL_GROWTH, SMALLEST_JOURNAL_BYTES, RunStore
from orchestrator.supervisor.reopenings import retries
from orchestrator.workers.faultpoints import arm

pytestmark = pytest.mark.usefixtures("disarmed")


def files(run_dir: RunDir) -> set[str]:
    return {path.name for path in run_dir.path.iterdir() if path.is_file()}


def test_a_checkpoint_is_one_json_document_with_a_record_a_line(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(1, output=b"second"), ended(0, output=b"first"), started(2)])
    store.take_checkpoint()
    store.close()
    text = run_dir.checkpoint.read_text()
    document = json.loads(text)
    assert (document["format"], document["generation"], document["journal"]) == (1, 2, "journal-2.jsonl")
    assert document["counts"] == {"port": {"pending": 7, "running": 1, "succeeded": 2}}
    assert [(record["type"], record.get("index")) for record in document["records"]] == [
        ("run", None),
        ("listed", None),
        ("end", 0),
        ("end", 1),
        ("start", 2),
    ]
    assert len(text.splitlines()) == 2 + len(document["records"])


def test_an_item_that_is_to_run_again_stays_so_through_a_checkpoint_also_if_it_is_not_selected_any_more(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    chosen = ItemsChosen(job="port", ranges=[])
    store.append([LISTED, chosen, started(0), ended(0), Reopened(job="port", indices=[0])])
    assert store.history.jobs["port"].status(0) is Status.SKIPPED
    store.take_checkpoint()
    store.close()
    assert read_history(run_dir).jobs["port"].status(0) is Status.SKIPPED


def test_the_old_generation_is_gone_after_a_checkpoint(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.take_checkpoint()
    store.close()
    assert files(run_dir) == {"checkpoint.json", "journal-2.jsonl", "jobs.toml"}


def test_a_checkpoint_makes_everything_before_it_durable(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    group = store.append([LISTED])
    assert store.durable_through() == 0
    store.take_checkpoint()
    assert store.durable_through() == group
    store.close()


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize(
    "point", ["journal.write", "journal.created", "file.written", "file.synced", "file.renamed", "file.folder_synced"]
)
def test_a_checkpoint_that_fails_anywhere_loses_nothing_and_ends_the_writing(run_dir: RunDir, point: str, error: str) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(0)])
    arm(f"{point}:1:{error}")
    with pytest.raises(StateUnwritableError):
        store.take_checkpoint()
    arm(None)
    with pytest.raises(StateUnwritableError):
        store.append([ended(1)])
    with pytest.raises(StateUnwritableError):
        store.take_checkpoint()
    assert store.history.jobs["port"].record(0) == ended(0)
    store.close()
    assert read_history(run_dir).jobs["port"].record(0) == ended(0)
    again = RunStore.open(run_dir)
    again.append([ended(1)])
    again.take_checkpoint()
    again.close()
    assert read_history(run_dir).jobs["port"].counts()[Status.SUCCEEDED] == 2
    assert len(files(run_dir)) == 3


def test_a_lost_rename_keeps_the_previous_checkpoint(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(0)])
    before = run_dir.checkpoint.read_bytes()

    def lost(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", lost)
        with pytest.raises(StateUnwritableError, match=r"checkpoint\.json"):
            store.take_checkpoint()
    store.close()
    assert run_dir.checkpoint.read_bytes() == before
    assert read_history(run_dir).jobs["port"].record(0) == ended(0)


def test_what_a_killed_writer_left_is_removed_by_the_next(run_dir: RunDir) -> None:
    (run_dir.path / ".checkpoint.json.new").write_text("half of a checkp")
    run_dir.journal(7).write_text("stray")
    RunStore.open(run_dir).close()
    assert files(run_dir) == {"checkpoint.json", "journal-1.jsonl", "jobs.toml"}


def test_a_torn_tail_is_set_aside_and_cut_and_readers_leave_it(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(0)])
    store.close()
    whole = run_dir.journal(1).read_bytes()
    run_dir.journal(1).write_bytes(whole + b'{"type":"end","job":"po')
    assert read_history(run_dir).jobs["port"].record(0) == ended(0)
    assert run_dir.journal(1).read_bytes() != whole
    store = RunStore.open(run_dir)
    assert run_dir.journal(1).read_bytes() == whole
    [aside] = run_dir.path.glob("journal-1.torn-*")
    assert aside.read_bytes() == b'{"type":"end","job":"po'
    store.append([ended(1)])
    store.close()
    assert read_history(run_dir).jobs["port"].counts()[Status.SUCCEEDED] == 2


def test_damaged_state_is_refused_and_left_untouched(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED])
    store.append([ended(0)])
    store.close()
    damaged = run_dir.journal(1).read_bytes().replace(b'"count":10', b'"count":99')
    run_dir.journal(1).write_bytes(damaged)
    for refuse in (RunStore.open, read_history):
        with pytest.raises(StateRefusedError, match="damaged"):
            refuse(run_dir)
    assert run_dir.journal(1).read_bytes() == damaged
    assert files(run_dir) == {"checkpoint.json", "journal-1.jsonl", "jobs.toml"}


def test_a_newer_checkpoint_is_refused_and_left_untouched(run_dir: RunDir) -> None:
    newer = run_dir.checkpoint.read_bytes().replace(b'"format":1', b'"format":2').replace(b'"counts"', b'"sums"')
    run_dir.checkpoint.write_bytes(newer)
    with pytest.raises(StateRefusedError, match="format 2 is newer"):
        RunStore.open(run_dir)
    assert run_dir.checkpoint.read_bytes() == newer


def test_a_run_is_born_once(run_dir: RunDir) -> None:
    history = read_history(run_dir)
    with pytest.raises(UserError, match="exists already"):
        RunStore.create(run_dir, history.header, "")


def test_a_run_that_begins_is_read_without_a_decoder_of_all_kinds_of_lines(
    run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To make it costs a start a fortieth."""
    monkeypatch.setattr(lines, "_decode_block", Mock(side_effect=AssertionError("it was made")))
    assert read_header(run_dir.checkpoint).run_id == run_dir.run_id
    store = RunStore.open(run_dir)
    assert store.history.header.run_id == run_dir.run_id
    store.close()


def test_a_failed_sync_ends_the_writing_and_is_never_tried_again(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED])
    syncs: list[int] = []

    def failing(fd: int) -> None:
        syncs.append(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("orchestrator.store.syncer.sync_data", failing)
    store.request_sync()
    store._syncer._thread.join(timeout=10)
    with pytest.raises(StateUnwritableError, match="Input/output error"):
        store.append([ended(0)])
    with pytest.raises(StateUnwritableError):
        store.durable_through()
    with pytest.raises(StateUnwritableError):
        store.take_checkpoint()
    store.close()
    assert len(syncs) == 1


def test_a_checkpoint_is_due_by_the_growth_of_the_journal(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SMALLEST_JOURNAL_BYTES >= 1 << 20
    monkeypatch.setattr("orchestrator.store.run_store.SMALLEST_JOURNAL_BYTES", 1000)
    store = RunStore.open(run_dir)
    store.append([LISTED])
    sizes = []
    for index in range(400):
        store.append([ended(index)])
        if store.wants_checkpoint:
            store.take_checkpoint()
            assert not store.wants_checkpoint
            sizes.append(run_dir.checkpoint.stat().st_size)
    store.close()
    assert len(sizes) >= 2
    assert all(later > earlier * JOURNAL_GROWTH / 2 for earlier, later in pairwise(sizes))


def test_the_iterators_own_error_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def chunks():
        yield b"new"
        raise OSError(2, "of the iterator")

    with pytest.raises(OSError, match="of the iterator"):
        write_durably(path, chunks())
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_a_full_disk_is_told_with_the_path_and_what_to_do(tmp_path: Path) -> None:
    arm("file.written:1:ENOSPC")
    with pytest.raises(StateUnwritableError, match="No space left") as caught:
        write_durably(tmp_path / "file", b"x")
    assert str(tmp_path / "file") in caught.value.message
    assert "free some space" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_short_writes_of_a_file_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(durable_file.os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    write_durably(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_prompt_that_a_retry_asked_for_stays_and_begins_anew_until_an_attempt_has_begun_with_it(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(1)])

    def retry(**change: Any) -> tuple[str | None, bool]:
        [record] = retries(store.history, RetryRequest([("port", 1)], **change))
        assert isinstance(record, RetryAsked)
        store.append([record, Reopened(job="port", indices=[1])])
        return record.prompt, record.is_prompt_kept

    assert retry() == (None, False)
    assert retry(prompt="Do A") == ("Do A", False)
    assert retry(feedback="Now") == ("Do A", False), "no attempt has begun with it"
    store.append([started(1, attempt=2), ended(1, attempt=2)])
    assert retry() == ("Do A", True)
    assert retry(model="opus") == ("Do A", True)
    assert retry(prompt="Do B") == ("Do B", False)
    store.close()


def test_what_a_retry_asked_for_is_kept_by_a_checkpoint_and_forgotten_when_an_update_sets_the_item_back(run_dir: RunDir) -> None:
    asked = RetryAsked(job="port", index=1, attempts=1, feedback="Look again", model="opus")
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(1), asked, Reopened(job="port", indices=[1])])
    for _ in range(2):
        store.take_checkpoint()
        past = read_history(run_dir).jobs["port"]
        assert (past.retries, past.status(1), past.attempts(1)) == ({1: asked}, Status.PENDING, 1)
    store.append([ItemSettled(job="port", index=1, status=Status.PENDING)])
    store.take_checkpoint()
    store.close()
    assert read_history(run_dir).jobs["port"].retries == {}


def test_a_cancel_that_was_told_is_kept_until_what_it_ended_is_recorded(run_dir: RunDir) -> None:
    store = RunStore.open(run_dir)
    told = CancelTold(at=7.0, job="port", index=1)
    store.append([LISTED, ended(1), started(1, attempt=2), CancelTold(at=7.0), told])
    for _ in range(2):
        past = read_history(run_dir)
        assert past.cancelling == {("port", 1): told}
        assert past.ended == RunEnded(status="cancelled", at=7.0, exit_code=4)
        store.take_checkpoint()
    store.append([ended(1, attempt=2)])
    store.close()
    assert read_history(run_dir).cancelling == {}


@pytest.mark.parametrize("lost", ["journal", "its header", "checkpoint", "its end"])
def test_what_is_refused_names_the_way_out(run_dir: RunDir, lost: str) -> None:
    journal, checkpoint = run_dir.journal(1), run_dir.checkpoint
    match lost:
        case "journal":
            journal.unlink()
        case "its header":
            journal.write_bytes(b"")
        case "checkpoint":
            checkpoint.write_bytes(b"{}")
        case _:
            checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    for refuse in (RunStore.open, read_history):
        with pytest.raises(StateRefusedError) as caught:
            refuse(run_dir)
        assert caught.value.hint == f"it was left as it is; orchestrate doctor --salvage {run_dir.run_id} shows what can be saved"
