"""docs/benchmarks.md: the readings as tables. Describes the machine by its cores and kernel only."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil
from chains import CHAINS, ITEM_SECONDS, LINKS, SLOTS, Chains
from contest import Size, Spread, Standing
from scaling import Scale, StartUp
from sharing import Sharing


@dataclass(frozen=True)
class Place:
    """Where the runs keep their state, and how busy the machine was when the bench began."""

    file_system: str
    load: float

    @classmethod
    def of(cls, folder: Path) -> Place:
        mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
        found = next(mounts[path] for path in [folder.resolve(), *folder.resolve().parents] if path in mounts)
        return cls(found, os.getloadavg()[0])


def render(
    contest: dict[Size, list[Standing]],
    absent: dict[str, str],
    scales: list[Scale],
    sharing: Sharing | None,
    chains: Chains | None,
    starts: list[StartUp],
    place: Place,
) -> str:
    """The page, of the parts that were measured. `absent` says who did not take part, and why."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. "
        f"Machine: {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"state on {place.file_system}; load average before: {place.load:.1f}.",
        "",
    ]
    if contest:
        lines += _contest(contest, absent)
    if scales:
        lines += _scales(scales)
    if sharing is not None:
        lines += _sharing(sharing)
    if chains is not None:
        lines += _chains(chains)
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
        "`orchestrate run` of /bin/true, 2 at once. Bytes are those that the whole tree handed to write(2); syncs are the",
        "supervisor's calls of fsync and fdatasync (workers sync large outputs only); memory is the largest process's. Resume:",
        "the supervisor is killed with SIGKILL half-way, and the time is from `orchestrate resume` to the first item that ran.",
        "",
        "| items | CPU ms an item | bytes an item | syncs an item | memory MiB | `status` s | `resume` s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {scale.count:,} | {scale.cpu_ms_an_item:.2f} | {scale.written_bytes_an_item:,.0f} | {scale.syncs_an_item:.3f} "
        f"| {scale.peak_bytes / 2**20:.0f} | {scale.status_seconds:.2f} | {scale.resume_seconds:.2f} |"
        for scale in scales
    ]
    return [*lines, ""]


def _sharing(sharing: Sharing) -> list[str]:
    token, duplicates, handover = sharing.token, sharing.duplicates, sharing.handover
    lines = [
        "## Tokens and pools",
        "",
        "Items of /bin/true, 2 at once, in alternating rounds: median (low to high) of what each round gave. What a token adds",
        "is its lock, its record, and the publication of what came of it, which is synced. Hand-over: from the end of what held",
        "the only slot of a pool to the start of what waited for it in another run. Idle: supervisors with nothing to do but",
        f"wait for what another run holds, watched for {sharing.idle_seconds:.0f} s, all at once. Creating files, as",
        "tokens do, is slow on an ext4 without a journal for minutes after many were deleted there; elsewhere it is not.",
        "",
        "| | limit | measured |",
        "|---|---:|---:|",
        f"| a token, CPU ms an item ({token.rounds} rounds of {token.count:,}) | 0.5 | {_ratio(token.cpu_ms)} |",
        f"| a token, wall ms an item | | {_ratio(token.wall_ms)} |",
        f"| {duplicates.count:,} items, 90 % duplicates ÷ all distinct, wall ({duplicates.rounds} rounds) | 0.25 "
        f"| {_ratio(duplicates.wall_ratio)} |",
        f"| the same, CPU | | {_ratio(duplicates.cpu_ratio)} |",
        f"| a slot's hand-over, ms ({handover.count} times) | 150 | {handover.milliseconds.median:.0f} "
        f"({handover.milliseconds.low:.0f} to {handover.milliseconds.high:.0f}) |",
    ]
    lines += [f"| {idle.what}, CPU in % of a core | 1 | {idle.percent:.2f} |" for idle in sharing.idle]
    return [*lines, ""]


def _chains(chains: Chains) -> list[str]:
    jobs = CHAINS * LINKS
    return [
        "## Chains",
        "",
        f"{jobs} jobs of {chains.items:,} items: {CHAINS} chains, {LINKS} jobs long, on {SLOTS} slots; items sleep "
        f"{ITEM_SECONDS[0]} and {ITEM_SECONDS[1]} s in turn. Idle is the",
        "share of the slots' time without an attempt, from the first start to the last: all that time something was ready.",
        "",
        "| | limit | measured |",
        "|---|---:|---:|",
        f"| chains, idle in % | 5 | {chains.idle_percent:.1f} |",
        f"| a barrier before each job, idle in % | | {chains.barrier_idle_percent:.1f} |",
        f"| wall, chains ÷ barriers | | {chains.wall_ratio:.2f} |",
        "",
    ]


def _starts(starts: list[StartUp]) -> list[str]:
    lines = ["## Start-up", "", "Until the command has returned, median.", "", "| | ms | ÷ bare Python |", "|---|---:|---:|"]
    lines += [f"| {start.name} | {start.milliseconds:.0f} | {start.ratio:.1f} |" for start in starts]
    return [*lines, ""]


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
