"""How busy chains keep the slots: 20 jobs, 5 chains of 4 of them, an item of any starts as soon as its parent's has ended.

Beside it the same work with a barrier before each job, as who has no chains would write it.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from contest import BenchError, environment, measured
from contestants import orchestrate_command

CHAINS = 5
LINKS = 4
SLOTS = 16
ITEM_SECONDS = (0.05, 0.15)
"""Items last in turn as long as these: who waits for a whole job waits for its last items."""


@dataclass(frozen=True)
class Chains:
    """`items` of each job; the share of the slots' time that was idle while work was ready, in percent."""

    items: int
    idle_percent: float
    barrier_idle_percent: float
    wall_ratio: float
    """Chains to barriers."""


def measure_chains(items: int, scratch: Path) -> Chains:
    """Raises BenchError."""
    idle, seconds = {}, {}
    for word in ("chain", "barrier"):
        folder = scratch / word
        folder.mkdir(parents=True)
        (folder / "jobs.toml").write_text(_jobs_file(items, is_chain=word == "chain"))
        seconds[word] = measured([*orchestrate_command(), "run", "jobs.toml", "--quiet"], folder).wall_seconds
        idle[word] = idle_percent(_attempts(folder, CHAINS * LINKS * items), SLOTS)
    return Chains(items, idle["chain"], idle["barrier"], seconds["chain"] / seconds["barrier"])


def idle_percent(attempts: list[tuple[float, float]], slots: int) -> float:
    """Of the slots' time from the first start to the last one: until then there was always something to start."""
    first, last = min(start for start, _ in attempts), max(start for start, _ in attempts)
    busy = sum(max(0.0, min(end, last) - start) for start, end in attempts)
    return 100 * (1 - busy / (slots * (last - first)))


def _jobs_file(items: int, *, is_chain: bool) -> str:
    short, long = ITEM_SECONDS
    sleep = f"sleep {{{{ {short} if index % 2 else {long} }}}}"
    lines = [f"[run]\nslots = {SLOTS}\n"]
    for chain in range(CHAINS):
        for link in range(LINKS):
            source = f'{{ job = "c{chain}_{link - 1}" }}' if is_chain and link else f'"{{{{ range({items}) | list }}}}"'
            needs = f'needs = ["c{chain}_{link - 1}"]\n' if link and not is_chain else ""
            lines.append(f'[jobs.c{chain}_{link}]\nfor_each = {source}\n{needs}shell = "{sleep}"\n')
    return "\n".join(lines)


def _attempts(folder: Path, count: int) -> list[tuple[float, float]]:
    """(start, end) of the one attempt of each item."""
    argv = [*orchestrate_command(), "results", "jobs.toml", "--json", "--fields", "status,started_at_s,finished_at_s"]
    told = subprocess.run(argv, cwd=folder, env=environment(folder), capture_output=True, check=True, timeout=120)
    results = json.loads(told.stdout)
    succeeded = [(each["started_at_s"], each["finished_at_s"]) for each in results if each["status"] == "succeeded"]
    if len(succeeded) != count:
        raise BenchError(f"{folder}: {len(succeeded)} of {count} items succeeded")
    return succeeded
