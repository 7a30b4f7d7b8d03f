"""Publishing verdicts: in which order it writes, how many it syncs together, and what becomes of a failure."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.processes import without_threads
from drivers.token_samples import record

from orchestrator.errors import StateUnwritableError
from orchestrator.shared.tokens.publisher import Publisher
from orchestrator.shared.tokens.record import TokenFiles
from orchestrator.workers.faultpoints import arm
from orchestrator.workers.files.syncing import sync_data, sync_folder

MODULE = "orchestrator.shared.tokens.publisher"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    made = Publisher()
    yield made
    arm(None)
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> TokenFiles:
    made = TokenFiles(tmp_path)
    made.folder.mkdir()
    return made


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the disk, in order."""
    done: list[str] = []
    rename = os.rename

    def synced(fd: int) -> None:
        done.append("sync")
        sync_data(fd)

    def renamed(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    def folder_synced(folder: Path) -> None:
        sync_folder(folder)
        done.append("folder")

    monkeypatch.setattr(f"{MODULE}.sync_data", synced)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(f"{MODULE}.sync_folder", folder_synced)
    return done


def test_a_verdict_is_synced_then_renamed_then_its_folder_is_synced_and_only_then_it_is_told(
    publisher: Publisher, files: TokenFiles, acts: list[str]
) -> None:
    verdict = record("ship", is_success=True)
    publisher.publish_record(files.paths("ship"), verdict)
    publisher.finish()
    assert acts == ["sync", "rename", "folder"]
    assert publisher.take_published() == [verdict]
    assert files.find_record("ship") == verdict
    assert [path.name for path in files.folder.iterdir()] == [files.record_path("ship").name]


def test_nothing_is_told_before_the_folder_is_synced(
    publisher: Publisher, files: TokenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait(_folder: Path) -> None:
        reached.set()
        assert go_on.wait(60)

    monkeypatch.setattr(f"{MODULE}.sync_folder", wait)
    publisher.publish_record(files.paths("ship"), record("ship"))
    assert reached.wait(60)
    assert files.find_record("ship") is not None
    assert publisher.take_published() == []
    go_on.set()
    publisher.finish()
    assert len(publisher.take_published()) == 1


def test_what_comes_while_it_writes_shares_one_sync_of_the_folder(
    publisher: Publisher, files: TokenFiles, acts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def wait_once(folder: Path) -> None:
        if not reached.is_set():
            reached.set()
            assert go_on.wait(60)
        acts.append("folder")
        sync_folder(folder)

    monkeypatch.setattr(f"{MODULE}.sync_folder", wait_once)
    publisher.publish_record(files.paths("first"), record("first"))
    assert reached.wait(60)
    verdicts = [record(f"t{number}") for number in range(15)]
    for verdict in verdicts:
        publisher.publish_record(files.paths(verdict.token), verdict)
    go_on.set()
    publisher.finish()
    assert acts.count("folder") == 2
    assert [told.token for told in publisher.take_published()] == ["first", *(verdict.token for verdict in verdicts)]


def test_its_descriptor_wakes_who_waits_for_it(publisher: Publisher, files: TokenFiles) -> None:
    import select

    assert select.select([publisher.fileno()], [], [], 0)[0] == []
    publisher.publish_record(files.paths("ship"), record("ship"))
    assert select.select([publisher.fileno()], [], [], 10)[0] == [publisher.fileno()]
    publisher.finish()
    publisher.take_published()
    assert select.select([publisher.fileno()], [], [], 0)[0] == []


@pytest.mark.parametrize("fault", ["token.publishing:1:ENOSPC", "token.synced:1:EIO"])
def test_what_cannot_be_written_is_told_the_old_record_stays_and_nothing_follows(
    publisher: Publisher, files: TokenFiles, fault: str
) -> None:
    old = record("ship", "held")
    files.write_held(old)
    arm(fault)
    publisher.publish_record(files.paths("ship"), record("ship"))
    with pytest.raises(StateUnwritableError):
        publisher.finish()
    arm(None)
    publisher.publish_record(files.paths("next"), record("next"))
    with pytest.raises(StateUnwritableError):
        publisher.take_published()
    with pytest.raises(StateUnwritableError):
        publisher.finish()
    assert files.find_record("ship") == old
    assert files.find_record("next") is None
    assert [path.name for path in files.folder.iterdir()] == [files.record_path("ship").name]


def test_without_a_thread_each_record_is_written_by_the_one_who_gives_it(
    publisher: Publisher, files: TokenFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_descriptors(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with without_threads():
        publisher.publish_record(files.paths("a"), record("a"))
        assert [each.token for each in publisher.take_published()] == ["a"]
        with monkeypatch.context() as patch:
            patch.setattr(f"{MODULE}.write_new_record", short_of_descriptors)
            publisher.publish_record(files.paths("b"), record("b"))
        assert publisher.take_published() == [], "what finds no descriptor stays"
        publisher.finish()
        assert [each.token for each in publisher.take_published()] == ["b"]
    publisher.publish_record(files.paths("c"), record("c"))
    publisher.finish()
    assert [each.token for each in publisher.take_published()] == ["c"]
