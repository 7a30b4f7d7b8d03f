"""docs/benchmarks.md: the findings as tables. Describes the machine by its cores and kernel only."""

from __future__ import annotations

import os
import platform
import subprocess
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from chains import CHAINS, ITEM_SECONDS, LINKS, SLOTS, Chains
from contest import NOISY_SPREAD, Spread
from findings import Findings
from goals import goals
from idling import IdleAgents
from many_runs import ManyRuns
from scaling import REALLY_RUN, Commands, Scale
from sharing import Sharing
from starts import CHILD, NESTED, SLEEP_SECONDS, Gaps, StartUp
from starts import SLOTS as GAP_SLOTS

PICTURE = "benchmarks.svg"


@dataclass(frozen=True)
class Sitting:
    """When, of which commit, where the runs keep their state, how busy the machine was before and after, and how long it took."""

    date: str
    commit: str
    file_system: str
    load_before: float
    load_after: float
    minutes: float

    @classmethod
    def of(cls, folder: Path, load_before: float, seconds: float) -> Sitting:
        """The one that ends now; `folder` is where its runs are."""
        mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
        found = next(mounts[path] for path in [folder.resolve(), *folder.resolve().parents] if path in mounts)
        today = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime())
        return cls(today, _commit(), found, load_before, os.getloadavg()[0], seconds / 60)


def _commit() -> str:
    """The commit that is checked out, shortened; and whether files differ from it."""
    argv = ["git", "describe", "--always", "--dirty= and what is not committed", "--exclude=*", "--abbrev=10"]
    told = subprocess.run(argv, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def render(found: Findings, sitting: Sitting) -> str:
    """The page, of the parts that were measured."""
    lines = [
        "# Benchmarks",
        "",
        *_prose(f"""
            Written by `make bench` on {sitting.date}, of commit {sitting.commit}, in {sitting.minutes:.1f} minutes; do
            not edit. Machine: {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python
            {platform.python_version()}, state on {sitting.file_system}. Load average before: {sitting.load_before:.1f};
            after: {sitting.load_after:.1f}, of our own work, if nothing else ran.
        """),
        "",
        f"![What an item costs by number of items, and ratios to others]({PICTURE})",
        "",
    ]
    if found.failed:
        lines += ["Not measured:", "", *(f"- **{part}**: {reason}" for part, reason in found.failed.items()), ""]
    lines += _goals(found)
    lines += _contest(found)
    lines += _scales(found.scales, found.commands)
    lines += _starts(found.starts, found.gaps)
    lines += _idle_agents(found.idle_agents)
    lines += _many_runs(found.many_runs)
    if found.sharing is not None:
        lines += _sharing(found.sharing)
    if found.chains is not None:
        lines += _chains(found.chains)
    return "\n".join(lines)


def _goals(found: Findings) -> list[str]:
    rows = [
        f"| {goal.what} | {'at least ' if goal.more_is_better else ''}{goal.to_reach:g} | {goal.measured:.{goal.digits}f} "
        f"| {'yes' if goal.is_reached else 'no'} |"
        for goal in goals(found)
    ]
    if not rows:
        return []
    return ["## What it shall reach", "", "| | to reach | measured | reached |", "|---|---:|---:|---|", *rows, ""]


def _contest(found: Findings) -> list[str]:
    if not found.contest:
        return []
    lines = [
        "## Side by side",
        "",
        *_prose(f"""
            The same jobs (`/bin/true`) by each, in alternating rounds. CPU is user + system of the whole tree, detached
            workers included; wall ends with the last process of the tree. Ratios are to xargs of the same round: median
            (low to high). Noise: how far the floor's rounds are apart. Where it was over {NOISY_SPREAD:.0%}, the noisiest
            rounds were measured again while there was time; where it stayed so, the numbers say little. Who is slow takes
            part at fewer sizes, in fewer rounds.
        """),
        "",
    ]
    lines += [f"- **{each.name}**: {each.promise}" for each in found.entrants if each.name not in found.absent]
    lines += [f"- **{name}** did not take part: {reason}" for name, reason in found.absent.items()]
    for size, outcome in found.contest.items():
        noise = ""
        if outcome.noise is not None:
            stayed = ", **stayed noisy**" if outcome.is_noisy else ""
            noise = f"; {outcome.repeated} measured again; noise {outcome.noise:.0%}{stayed}"
        lines += [
            "",
            f"### {size.count:,} jobs, {size.slots} at once",
            "",
            f"Rounds: {outcome.rounds}{noise}.",
            "",
            "| | CPU ms a job | CPU ÷ xargs | wall ms a job | wall ÷ xargs |",
            "|---|---:|---:|---:|---:|",
        ]
        for each in outcome.standings:
            cpu, wall = f"{each.cpu_ms.median:.2f}", f"{each.wall_ms.median:.2f}"
            lines.append(f"| {each.name} | {cpu} | {_ratio(each.cpu_ratio)} | {wall} | {_ratio(each.wall_ratio)} |")
    return [*lines, ""]


def _scales(scales: list[Scale], commands: Commands | None) -> list[str]:
    if not scales:
        return []
    lines = [
        "## Scale",
        "",
        *_prose(f"""
            `orchestrate run` of /bin/true, 2 at once. **Sampled**: of each run the last {REALLY_RUN:,} items at most are
            really run, by `orchestrate resume`; those before them were recorded by the store's own writers, as a million
            commands take longer than this bench may. CPU, bytes and syncs an item are those between two of the items that
            ran (after a tenth of them, and after nine tenths), so without the start and the end of the run; of
            10,000 items it is the mean of two runs, one before the larger ones and one after them. Bytes are
            those that the whole tree handed to write(2); syncs are the supervisor's calls of fsync and fdatasync, counted
            inside the process (workers sync large outputs only); memory is the largest process's. First item: from the
            start of the command to that of the first item.
        """),
        "",
        "| items | of which ran | CPU ms an item | bytes an item | syncs an item | memory MiB | first item s |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {each.count:,} | {each.really_run:,} | {each.cpu_ms_an_item:.3f} | {each.written_bytes_an_item:,.0f} "
        f"| {each.syncs_an_item:.3f} | {each.peak_bytes / 2**20:.0f} | {each.first_item_seconds:.2f} |"
        for each in scales
    ]
    if commands is not None:
        lines += [
            "",
            f"Commands on the finished run of {commands.count:,} items (checkpoint: {commands.checkpoint_bytes / 1e6:,.0f} MB):",
            "",
            "| command | s |",
            "|---|---:|",
            *(f"| `{name}` | {seconds:.2f} |" for name, seconds in commands.seconds.items()),
        ]
    return [*lines, ""]


def _idle_agents(idle: IdleAgents | None) -> list[str]:
    if idle is None:
        return []
    return [
        "## Idle agents",
        "",
        *_prose(f"""
            {idle.agents} agents that do nothing, each with `timeout`, `stall_timeout` and `memory`, watched for
            {idle.seconds:.0f} s a minute after the last has started: all our processes together, without the agents' own.
            A wake-up: a thread had slept, and runs.
        """),
        "",
        "| our processes | % of a core | wake-ups a second |",
        "|---:|---:|---:|",
        f"| {idle.processes} | {idle.cpu_percent:.2f} | {idle.wakes_a_second:.1f} |",
        "",
    ]


def _many_runs(many: ManyRuns | None) -> list[str]:
    if many is None:
        return []
    return [
        "## Many runs",
        "",
        *_prose(f"""
            A home of {many.runs:,} finished runs of one item, recorded by the store's writers. Ratios: to the same
            command in a home with hardly a run, in alternating rounds.
        """),
        "",
        "| `list` s | `status` ÷ alone | `run` ÷ alone |",
        "|---:|---:|---:|",
        f"| {many.list_seconds:.2f} | {many.status_ratio:.2f} | {many.run_ratio:.2f} |",
        "",
    ]


def _sharing(sharing: Sharing) -> list[str]:
    token, duplicates, handover = sharing.token, sharing.duplicates, sharing.handover
    lines = [
        "## Tokens and pools",
        "",
        *_prose(f"""
            Items of /bin/true, 2 at once, in alternating rounds: median (low to high) of what each round gave. What a
            token adds is its lock, its record, and the publication of what came of it, which is synced. Hand-over: from
            the end of what held the only slot of a pool to the start of what waited for it in another run. Idle:
            supervisors with nothing to do but wait for what another run holds, watched for {sharing.idle_seconds:.0f} s,
            all at once. Creating files, as tokens do, is slow on an ext4 without a journal for minutes after many were
            deleted there; elsewhere it is not.
        """),
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
        *_prose(f"""
            {jobs} jobs of {chains.items:,} items: {CHAINS} chains, {LINKS} jobs long, on {SLOTS} slots; items sleep
            {ITEM_SECONDS[0]} and {ITEM_SECONDS[1]} s in turn. Idle is the share of the slots' time without an attempt,
            from the first start to the last: all that time something was ready.
        """),
        "",
        "| | limit | measured |",
        "|---|---:|---:|",
        f"| chains, idle in % | 5 | {chains.idle_percent:.1f} |",
        f"| a barrier before each job, idle in % | | {chains.barrier_idle_percent:.1f} |",
        f"| wall, chains ÷ barriers | | {chains.wall_ratio:.2f} |",
        "",
    ]


def _starts(starts: list[StartUp], gaps: Gaps | None) -> list[str]:
    lines: list[str] = []
    if starts:
        lines += [
            "## Start-up",
            "",
            *_prose("""
                Until the command has returned; CPU of its whole tree; medians. Of a nested run (an item whose command is
                `orchestrate run`) and of a child file (`workflow`): what it adds to a run of one item, and that as a
                ratio.
            """),
            "",
            "| | ms | CPU ms | ms ÷ bare Python | CPU ÷ bare Python | ms, CPU ÷ a run of one item |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for each in starts:
            ratios = f"{each.ratio:.1f} | {each.cpu_ratio:.1f} |" if each.name not in (NESTED, CHILD) else "| |"
            last = f"{each.ratio:.2f}, {each.cpu_ratio:.2f}" if each.name in (NESTED, CHILD) else ""
            lines.append(f"| {each.name} | {each.milliseconds:.0f} | {each.cpu_milliseconds:.0f} | {ratios} {last} |")
        lines.append("")
    if gaps is not None:
        lines += [
            "## Start after an end",
            "",
            *_prose(f"""
                {gaps.count:,} commands of {SLEEP_SECONDS} s on {GAP_SLOTS} slots: ms from the end of one to the start of
                the next in its slot. As recorded: by the times of the results. As seen: by the commands' own clocks, so
                with the exit of the one and the exec of the other. xargs: {GAP_SLOTS} times `xargs -P 1` side by side, which
                do no more than wait and start.
            """),
            "",
            "| | p50 | p99 |",
            "|---|---:|---:|",
            f"| as recorded | {gaps.recorded_p50:.2f} | {gaps.recorded_p99:.2f} |",
            f"| as seen | {gaps.seen_p50:.2f} | {gaps.seen_p99:.2f} |",
            f"| xargs, as seen | {gaps.xargs_p50:.2f} | {gaps.xargs_p99:.2f} |",
            "",
        ]
    return lines


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _prose(text: str) -> list[str]:
    """Lines of at most 130 characters."""
    return textwrap.wrap(" ".join(text.split()), 130, break_long_words=False, break_on_hyphens=False)
