"""docs/benchmarks.md: the readings as tables. Describes the machine by its cores and kernel only."""

from __future__ import annotations

import os
import platform

from contest import Size, Spread, Standing
from scaling import Scale, StartUp


def render(contest: dict[Size, list[Standing]], absent: dict[str, str], scales: list[Scale], starts: list[StartUp]) -> str:
    """The page, of the parts that were measured. `absent` says who did not take part, and why."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. "
        f"Machine: {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}.",
        "",
    ]
    if contest:
        lines += _contest(contest, absent)
    if scales:
        lines += _scales(scales)
    if starts:
        lines += _starts(starts)
    return "\n".join(lines)


def _contest(contest: dict[Size, list[Standing]], absent: dict[str, str]) -> list[str]:
    lines = [
        "## Side by side",
        "",
        "The same jobs (`/bin/true`) by each, in alternating rounds. CPU is user + system of the whole tree, detached workers",
        "included; wall ends with the last process of the tree. Ratios are to xargs of the same round: median (low to high).",
        "",
    ]
    lines += [f"- **{standing.name}**: {standing.promise}" for standing in next(iter(contest.values()))]
    lines += [f"- **{name}** did not take part: {reason}" for name, reason in absent.items()]
    for size, standings in contest.items():
        lines += [
            "",
            f"### {size.count:,} jobs, {size.slots} at once, {size.rounds} rounds",
            "",
            "| | CPU ms a job | CPU ÷ xargs | wall ms a job | wall ÷ xargs |",
            "|---|---:|---:|---:|---:|",
        ]
        for each in standings:
            cpu, wall = f"{each.cpu_ms.median:.2f}", f"{each.wall_ms.median:.2f}"
            lines.append(f"| {each.name} | {cpu} | {_ratio(each.cpu_ratio)} | {wall} | {_ratio(each.wall_ratio)} |")
    return [*lines, ""]


def _scales(scales: list[Scale]) -> list[str]:
    lines = [
        "## Scale",
        "",
        "`orchestrate run` of /bin/true, 2 at once. Bytes are those that the whole tree handed to write(2); syncs are fsync and",
        "fdatasync calls, counted in a run under strace; memory is the largest process's. Resume: the supervisor is killed with",
        "SIGKILL half-way, and the time is from `orchestrate resume` to the first item that ran.",
        "",
        "| items | CPU ms an item | bytes an item | syncs an item | memory MiB | `status` s | `resume` s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for scale in scales:
        syncs = "no strace" if scale.syncs_an_item is None else f"{scale.syncs_an_item:.3f}"
        lines.append(
            f"| {scale.count:,} | {scale.cpu_ms_an_item:.2f} | {scale.written_bytes_an_item:,.0f} | {syncs} "
            f"| {scale.peak_bytes / 2**20:.0f} | {scale.status_seconds:.2f} | {scale.resume_seconds:.2f} |"
        )
    return [*lines, ""]


def _starts(starts: list[StartUp]) -> list[str]:
    lines = ["## Start-up", "", "Until the command has returned, median.", "", "| | ms | ÷ bare Python |", "|---|---:|---:|"]
    lines += [f"| {start.name} | {start.milliseconds:.0f} | {start.ratio:.1f} |" for start in starts]
    return [*lines, ""]


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
