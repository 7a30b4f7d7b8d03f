"""The thread that makes groups durable, and what takes its place where the machine has no room for it."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.processes import LIMIT_SECONDS, without_threads

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
