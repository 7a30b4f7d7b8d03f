"""Happenings of a small run, for the tests of the views."""

from __future__ import annotations

from typing import Any

from orchestrator.views.happenings import ItemEnded, ItemStarted, JobListed, RunBegan, RunFinished


def began(jobs: list[str] | None = None, *, is_resumed: bool = False) -> RunBegan:
    return RunBegan(run_id="r1", name="tests", jobs=jobs or ["port"], slots=2, at=100.0, is_resumed=is_resumed)


def listed(count: int, job: str = "port", **counts: int) -> JobListed:
    return JobListed(job=job, count=count, counts=counts)


def started(index: int, label: str | None = None, attempt: int = 1, job: str = "port") -> ItemStarted:
    return ItemStarted(item=f"{job}:{index}", job=job, label=label, attempt=attempt, at=100.0)


def ended(index: int, status: str = "succeeded", job: str = "port", label: str | None = None, **more: Any) -> ItemEnded:
    told: dict[str, Any] = {"attempts": 1, "message": "", "duration_s": 2.14, "exit_code": None, "at": 102.0, **more}
    return ItemEnded(item=f"{job}:{index}", job=job, label=label, status=status, **told)


def finished(status: str = "completed", error: dict[str, Any] | None = None, **counts: int) -> RunFinished:
    codes = {"completed": 0, "failed": 1, "cancelled": 4, "interrupted": 130}
    summary = {
        "run_id": "r1",
        "status": status,
        "counts": counts,
        "error": error,
        "jobs": [{"id": "port", "status": status, "counts": counts}],
    }
    return RunFinished(run_id="r1", status=status, exit_code=codes[status], summary=summary, at=163.0)
