"""A disk that is full, and a quota that is used up: the machine's, whoever tells of it. The second was taken for the item's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator.workers.files import copying
from orchestrator.workers.workspaces import git

NO_ROOM = [errno.ENOSPC, errno.EDQUOT]


@pytest.mark.parametrize("number", NO_ROOM)
def test_a_git_that_has_no_room_is_no_failure_of_the_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    said = f"fatal: write error: {os.strerror(number)}\n".encode()
    monkeypatch.setattr(git, "_run", lambda *_: (128, b"", said))
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        git.git(str(tmp_path), "commit")
    assert raised.value.errno == number


@pytest.mark.parametrize("number", NO_ROOM)
def test_a_copy_that_has_no_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "file").write_text("x")

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copying, "_copy_file", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        copying.copy_folder(str(tmp_path / "from"), str(tmp_path / "to"))
    assert raised.value.errno == number
