"""What a full disk did not take of a captured stream is known, whatever the one who wrote it made of that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.workers.files.capture import CaptureFile, may_lack_bytes

BLOCK = 4096
LIMIT = 10 * BLOCK


class Disk:
    """The disk under a capture; `is_full` is what it says of itself from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self.looks = 0
        self._fstatvfs = os.fstatvfs
        monkeypatch.setattr(os, "fstatvfs", self._tell)

    def _tell(self, descriptor: int) -> os.statvfs_result:
        self.looks += 1
        fields = list(self._fstatvfs(descriptor))
        if self.is_full:
            fields[3] = fields[4] = 0  # f_bfree, f_bavail
        return os.statvfs_result(fields)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def capture(tmp_path: Path) -> CaptureFile:
    return CaptureFile(str(tmp_path / "stdout"))


@pytest.mark.parametrize(
    ("written", "is_full", "lacks"),
    [
        (0, True, True),  # nobody knows whether it wanted to say something
        (3 * BLOCK, True, True),
        (3 * BLOCK + 7, True, False),  # the last block has room, so nothing was refused
        (0, False, False),
        (3 * BLOCK, False, False),
        (LIMIT + BLOCK, True, False),  # what is kept was all there
    ],
)
def test_an_output_that_ends_with_a_block_of_a_full_disk_may_lack_its_end(
    capture: CaptureFile, disk: Disk, written: int, is_full: bool, lacks: bool
) -> None:
    os.write(capture.open(), bytes(written))
    disk.is_full = is_full
    assert may_lack_bytes([capture], LIMIT) is lacks


@pytest.mark.parametrize(("out", "err"), [(0, 0), (0, 7), (7, 0), (BLOCK, 0)])
def test_one_look_at_the_disk_does_for_both_streams(tmp_path: Path, disk: Disk, out: int, err: int) -> None:
    captures = [CaptureFile(str(tmp_path / name)) for name in ("stdout", "stderr")]
    for capture, size in zip(captures, (out, err), strict=True):
        os.write(capture.open(), bytes(size))
    disk.is_full = True
    assert may_lack_bytes(captures, LIMIT)
    assert disk.looks == 1


def test_a_disk_that_was_full_while_the_agent_wrote_has_left_a_hole_that_nobody_sees(capture: CaptureFile, disk: Disk) -> None:
    descriptor = capture.open()
    os.write(descriptor, bytes(BLOCK))
    disk.is_full = True
    capture.cut_to(LIMIT)
    disk.is_full = False
    os.write(descriptor, b"what follows the hole")
    assert may_lack_bytes([capture], LIMIT)
    capture.empty()
    capture.open()
    assert not may_lack_bytes([capture], LIMIT), "the next attempt's output is another"


def test_a_stream_that_said_nothing_while_the_disk_was_full_for_a_moment_lacks_nothing(capture: CaptureFile, disk: Disk) -> None:
    capture.open()
    disk.is_full = True
    capture.cut_to(LIMIT)
    disk.is_full = False
    assert not may_lack_bytes([capture], LIMIT), "hours of an agent's work would be lost for the silence of its stderr"


def test_a_quota_that_is_used_up_is_a_full_disk_too(
    capture: CaptureFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    os.write(capture.open(), bytes(BLOCK))
    assert not may_lack_bytes([capture], LIMIT)
    monkeypatch.setattr("orchestrator.workers.files.capture._takes_a_file", lambda _path: False)
    assert may_lack_bytes([capture], LIMIT)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["stdout"], "no file stays of a look"
