"""What a home of a thousand finished runs costs: `list`, and what is done beside them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from contest import environment, measured, told
from contestants import JOB, orchestrate_command, write_jobs_file
from recorded import record_run


@dataclass(frozen=True)
class ManyRuns:
    """Median seconds of `list` with `runs` runs; what `status` and `run` take beside them, to the same with none beside."""

    runs: int
    list_seconds: float
    status_ratio: float
    run_ratio: float


def measure_many_runs(runs: int, rounds: int, scratch: Path) -> ManyRuns:
    """The runs are recorded by the store's writers, as those of one item. Raises BenchError."""
    told(f"a home of {runs:,} runs")
    folders = {"many": scratch / "many", "alone": scratch / "alone"}
    for folder in folders.values():
        folder.mkdir()
        environment(folder)
        write_jobs_file(folder, 1, 1, [JOB, "{{ item }}"])
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        jobs_file = write_jobs_file(elsewhere, 1, 1, [JOB, "{{ item }}"])
        for number in range(runs if folder == folders["many"] else 0):
            record_run(folder / "home", f"past-{number}", jobs_file, ["0"], 1)
    run, status = [*orchestrate_command(), "run", "jobs.toml", "--quiet"], [*orchestrate_command(), "status", "jobs.toml"]
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for word, argv in (("run", run), ("status", status)):
            for name, folder in folders.items():
                taken.setdefault((word, name), []).append(measured(argv, folder).command_seconds)
    listed = [measured([*orchestrate_command(), "list"], folders["many"]).command_seconds for _ in range(3)]
    return ManyRuns(runs, statistics.median(listed), *(_ratio(taken, word) for word in ("status", "run")))


def _ratio(taken: dict[tuple[str, str], list[float]], word: str) -> float:
    return statistics.median(many / alone for many, alone in zip(taken[word, "many"], taken[word, "alone"], strict=True))
