"""Notes on the workspaces of a run while it goes on: what was not kept, and how much disk they take."""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator.system.wording import sized
from orchestrator.workers.protocol import WorkspaceReport

MUCH_BYTES = 10 << 30
"""A person is told if all workspaces of a run take more than this."""

LITTLE_FREE_BYTES = 1 << 30
"""A person is told if less than this is free on their disk."""


class WorkspaceNotes:
    """The notes of one run, whose workspaces are in `folder`. The disk is noted once. Earlier sessions do not count."""

    def __init__(self, folder: str, note: Callable[[str], None]) -> None:
        self._folder = folder
        self._note = note
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._has_told = False

    def note_report(self, item: str, report: WorkspaceReport) -> None:
        """An attempt of `item` ended with `report`."""
        if report.note:
            self._note(f"{item}: {report.note}")
        if report.path is None or report.bytes_on_disk is None:
            return
        self._total += report.bytes_on_disk - self._sizes.get(report.path, 0)
        self._sizes[report.path] = report.bytes_on_disk
        if not self._has_told:
            self._look_at_disk()

    def _look_at_disk(self) -> None:
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        shown = f"the workspaces of this run take {sized(self._total)} in {self._folder}"
        if self._total > MUCH_BYTES:
            self._has_told = True
            self._note(f"{shown}; `keep` removes them earlier, prune those of old runs")
        elif free < LITTLE_FREE_BYTES:
            self._has_told = True
            self._note(f"{sized(free)} are free on the disk, and {shown}; prune removes those of old runs")
