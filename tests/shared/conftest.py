"""Runs that ask for tokens, without a supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.token_driver import DeskRuns


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[DeskRuns]:
    """Several runs in one process, each with a desk of its own."""
    made = DeskRuns(tmp_path)
    yield made
    made.close()
