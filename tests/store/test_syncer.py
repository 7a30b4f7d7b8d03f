"""The thread that makes groups durable, and what takes its place where the machine has no room for it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.processes import LIMIT_SECONDS, wait_until, without_threads

from orchestrator.errors import StateUnwritableError
from orchestrator.store.syncer import Syncer
from orchestrator.workers.faultpoints import arm


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "journal", os.O_WRONLY | os.O_CREAT)
    yield opened
    arm(None)
    os.close(opened)


def test_without_room_for_a_thread_each_group_is_durable_at_once_and_later_ones_by_a_thread(fd: int, tmp_path: Path) -> None:
    with without_threads():
        syncer = Syncer(fd, tmp_path / "journal")
        syncer.request_sync(1)
        assert select.select([syncer.fileno()], [], [], 0)[0]
        assert syncer.durable_through() == 1
        syncer.request_sync(2)
        assert syncer.durable_through() == 2
    syncer.request_sync(3)
    assert select.select([syncer.fileno()], [], [], LIMIT_SECONDS)[0]
    assert syncer.durable_through() == 3
    syncer.close()


def test_without_a_thread_a_sync_that_failed_is_never_tried_again(fd: int, tmp_path: Path) -> None:
    with without_threads():
        syncer = Syncer(fd, tmp_path / "journal")
        arm("journal.sync:1:EIO")
        syncer.request_sync(1)
        arm(None)
        syncer.request_sync(2)
        with pytest.raises(StateUnwritableError):
            syncer.durable_through()
        syncer.close()


def test_only_news_that_somebody_waits_for_wake_the_loop_and_failures_always_do(fd: int, tmp_path: Path) -> None:
    with without_threads():
        syncer = Syncer(fd, tmp_path / "journal")
        syncer.request_sync(1, is_awaited=False)
        assert not select.select([syncer.fileno()], [], [], 0)[0]
        assert syncer.durable_through() == 1
        syncer.request_sync(2)
        assert select.select([syncer.fileno()], [], [], 0)[0]
        assert syncer.durable_through() == 2
        arm("journal.sync:1:EIO")
        syncer.request_sync(3, is_awaited=False)
        assert select.select([syncer.fileno()], [], [], 0)[0]
        with pytest.raises(StateUnwritableError):
            syncer.durable_through()
        syncer.close()


def test_what_nobody_waits_for_shares_the_sync_of_what_somebody_does(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("orchestrator.store.syncer.sync_data", synced.append)
    monkeypatch.setattr("orchestrator.store.syncer.LONGEST_REST_SECONDS", 10 * LIMIT_SECONDS)
    syncer = Syncer(fd, tmp_path / "journal")
    syncer.request_sync(1)
    assert select.select([syncer.fileno()], [], [], LIMIT_SECONDS)[0]
    assert syncer.durable_through() == 1
    for group in (2, 3):
        syncer.request_sync(group, is_awaited=False)
    wait_until(lambda: syncer._is_resting, "the thread rests")
    syncer.request_sync(4)
    assert select.select([syncer.fileno()], [], [], LIMIT_SECONDS)[0]
    assert syncer.durable_through() == 4
    assert synced == [fd, fd]
    syncer.close()
