"""A file of the state is read whole only if it is of a size that such a file may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.workers.files.opening import StrangeFileError, read_file


def test_a_hole_of_a_tebibyte_behind_a_file_of_the_state_is_told_and_not_read(tmp_path: Path) -> None:
    """The copy of a jobs file with 3 GiB of zeros behind it had each command read for a quarter of a minute."""
    path = tmp_path / "jobs.toml"
    path.write_bytes(b"[jobs.a]")
    assert read_file(path) == b"[jobs.a]"
    os.truncate(path, 1 << 40)
    with pytest.raises(StrangeFileError) as caught:
        read_file(path)
    assert (caught.value.strerror, caught.value.filename) == ("it is larger than 256 MiB", str(path))
