"""What an update of a run comes to, job by job, as it is shown before anything is done. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

Fate = Literal["kept", "rerun", "checked", "unfinished", "running", "cancelled", "new", "gone"]
"""What becomes of an item. `kept`: it keeps its outcome. `rerun`: it would do something else now. `checked`: what it reads will
run again, and it keeps its outcome unless it would then do something else. `unfinished`: it had not succeeded, and runs as in any
resume. `running`: it runs just now, and runs on. `cancelled`: it stays so. `new`, `gone`: its value is new in the list, or no
longer in it."""

_WORDS: dict[Fate, tuple[str, str]] = {
    "kept": ("kept", "kept"),
    "rerun": ("runs again", "run again"),
    "checked": ("is checked again in its turn", "are checked again in their turn"),
    "unfinished": ("not done", "not done"),
    "running": ("runs on", "run on"),
    "cancelled": ("cancelled", "cancelled"),
    "new": ("new", "new"),
    "gone": ("no longer in the list", "no longer in the list"),
}
_TOLD = frozenset({"rerun", "new", "gone"})
"""Fates of which some items are named."""
_MOST_NAMES = 3


class JobUpdate(msgspec.Struct, kw_only=True):
    """One job. `change`: of the job itself; `new`: it is not in the old file; `removed`: it is not in the new one."""

    id: str
    change: Literal["none", "new", "removed"] = "none"
    counts: dict[Fate, int] = msgspec.field(default_factory=dict)
    names: dict[Fate, list[str]] = msgspec.field(default_factory=dict)
    """The first few items of a fate."""
    is_single: bool = False
    """Without `for_each`: one item."""
    is_listed_later: bool = False
    """Its list is evaluated again only when what it reads has run."""

    def count_item(self, fate: Fate, name: Callable[[], str]) -> None:
        """One more item has this fate. `name()`: what people call it; asked only if it is to be named."""
        self.counts[fate] = self.counts.get(fate, 0) + 1
        if fate in _TOLD and self.counts[fate] <= _MOST_NAMES:
            self.names.setdefault(fate, []).append(name())

    def line(self) -> str:
        """The job in one line."""
        if self.change == "removed":
            return f"{self.id}: removed" if self.is_single else f"{self.id}: removed, {self.counts.get('gone', 0)} items"
        parts = ["new"] if self.change == "new" else []
        parts += [self._words(fate) for fate in _WORDS if fate in self.counts]
        if self.is_listed_later:
            parts.append("its list is evaluated again in its turn")
        return f"{self.id}: {', '.join(parts) or 'nothing of it has begun'}"

    def _words(self, fate: Fate) -> str:
        count, names = self.counts[fate], self.names.get(fate, [])
        words = _WORDS[fate][count > 1]
        if self.is_single:
            return words
        more = ", …" if count > len(names) else ""
        return f"{count} {words}" + (f" ({', '.join(names)}{more})" if names else "")


class UpdatePlan(msgspec.Struct, frozen=True):
    """The whole update. `notes`: what a person should know besides."""

    run_id: str
    jobs_file: str
    jobs: list[JobUpdate]
    notes: list[str]

    def lines(self) -> Iterator[str]:
        """What is shown, in words."""
        yield from self.notes
        yield from (job.line() for job in self.jobs)

    def as_json(self) -> dict[str, Any]:
        """The object of `resume --update --dry-run --json`."""
        jobs = [
            {
                "id": job.id,
                "change": job.change,
                "counts": job.counts,
                "items": job.names,
                "listed_later": job.is_listed_later,
            }
            for job in self.jobs
        ]
        return {"run_id": self.run_id, "jobs_file": self.jobs_file, "jobs": jobs, "notes": self.notes}
