"""The child runs that a cancel has to end by itself: nobody supervises them, so nobody tells them."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.reading.run_reader import RunReader
from orchestrator.store.known_runs import list_children
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import is_locked


def left_children(reader: RunReader, items: list[tuple[str, int]] | None) -> Iterator[RunDir]:
    """The child runs of these items (None: of all) that are not over, and that nobody supervises.

    A supervised one is told by its item's run.
    """
    names = None if items is None else {reader.item_name(*item) for item in items}
    meant = set()
    for child in list_children(reader.run_dir.home, reader.run_dir.run_id):
        history = RunReader.read(child).history
        above, _, item = (history.header.parent or "").partition("/")
        if above not in meant and (above != reader.run_dir.run_id or (names is not None and item not in names)):
            continue
        meant.add(child.run_id)
        is_over = history.ended is not None and history.ended.status in ("completed", "failed", "cancelled")
        if (not is_over or history.starts_without_end) and not is_locked(child.supervisor_lock):
            yield child
