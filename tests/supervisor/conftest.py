"""Runs by the real loop on an engine without a process."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.loop_stories import LoopStories


@pytest.fixture
def stories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoopStories:
    """One run and its resumes. Each test gives it a jobs file and a story."""
    return LoopStories(tmp_path, monkeypatch)
