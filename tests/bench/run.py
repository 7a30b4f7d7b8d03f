"""`make bench`: measures orchestrate beside others here; writes docs/benchmarks.md and its picture in under twelve minutes.

run.py                  all parts; writes the page
run.py PART…            only these parts (contest, scale, starts, gaps, agents, runs, sharing, chains); prints only
run.py --quick          small sizes; prints only
run.py --without orchestrate,parallel    leaves contestants out; prints only
run.py --picture FILE   draws what was measured there, too
run.py --scratch DIR    where the runs keep their state: a real disk, or durability costs nothing
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from chains import measure_chains
from contest import BenchError, Contest, told
from contestants import Size, contestants
from findings import Findings
from idling import measure_idle_agents
from many_runs import measure_many_runs
from picture import draw
from report import PICTURE, Sitting, render
from scaling import measure_scales
from sharing import measure_sharing
from starts import measure_gaps, measure_start_up

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
SIZES = [Size(10, 2, 3), Size(100, 2, 3), Size(1_000, 2, 3), Size(1_000, 16, 3), Size(10_000, 2, 3), Size(10_000, 16, 3)]
QUICK_SIZES = [Size(10, 2, 1), Size(200, 2, 2), Size(1_000, 2, 1)]
REPEAT_UNTIL_SECONDS = 660.0
"""No noisy round is measured again later than this."""


class Bench:
    """One sitting: each part that is asked for, below `scratch`; what fails is told and is no end of the rest."""

    def __init__(self, scratch: Path, left_out: set[str], *, is_quick: bool) -> None:
        self._scratch = scratch
        self._left_out = left_out
        self._is_quick = is_quick
        self._begun = time.monotonic()
        self.found = Findings()
        self.parts: dict[str, Callable[[], None]] = {
            "starts": self._starts,
            "gaps": self._gaps,
            "agents": self._agents,
            "runs": self._runs,
            "chains": self._chains,
            "sharing": self._sharing,
            "scale": self._scale,
            # Last: its noisy rounds are measured again in the time that is left.
            "contest": self._contest,
        }

    def measure(self, asked: list[str]) -> None:
        """These parts, in our order."""
        for name, part in self.parts.items():
            if name not in asked:
                continue
            begun = time.monotonic()
            try:
                part()
            except (BenchError, OSError, subprocess.SubprocessError) as error:
                print(f"bench: {name}: {error}", file=sys.stderr)
                self.found.failed[name] = str(error).splitlines()[0]
            told(f"{name}: {time.monotonic() - begun:.0f} s")

    def _starts(self) -> None:
        self.found.starts = measure_start_up(2 if self._is_quick else 9, self._scratch)

    def _gaps(self) -> None:
        self.found.gaps = measure_gaps(200 if self._is_quick else 2_000, self._scratch)

    def _agents(self) -> None:
        if self._is_quick:
            self.found.idle_agents = measure_idle_agents(4, 3.0, self._scratch, settle_seconds=5.0)
        else:
            self.found.idle_agents = measure_idle_agents(64, 20.0, self._scratch)

    def _runs(self) -> None:
        runs, rounds = (20, 1) if self._is_quick else (1_000, 7)
        self.found.many_runs = measure_many_runs(runs, rounds, self._scratch)

    def _chains(self) -> None:
        self.found.chains = measure_chains(20 if self._is_quick else 100, self._scratch / "chains")

    def _sharing(self) -> None:
        self.found.sharing = measure_sharing(self._scratch, is_quick=self._is_quick)

    def _scale(self) -> None:
        counts = [1_000, 10_000, 12_000] if self._is_quick else [1_000, 10_000, 100_000, 1_000_000]
        self.found.scales, self.found.commands = measure_scales(counts, self._scratch)

    def _contest(self) -> None:
        found = self.found
        found.entrants = [each for each in contestants(self._scratch) if each.name not in self._left_out]
        found.absent = {each.name: each.lacks for each in found.entrants if each.lacks}
        present = [each for each in found.entrants if not each.lacks]
        contest = Contest(QUICK_SIZES if self._is_quick else SIZES, present, self._scratch)
        try:
            contest.hold()
            contest.repeat_noisy(self._begun + REPEAT_UNTIL_SECONDS)
        finally:
            found.contest = contest.outcomes()
            found.absent.update(contest.failed)


def main() -> int:
    """Exit 0; 1 if something that is measured did not do its work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--without", default="", metavar="NAMES")
    parser.add_argument("--picture", type=Path, metavar="FILE")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), metavar="DIR")
    asked = parser.parse_args()
    load_before, begun = os.getloadavg()[0], time.monotonic()
    left_out = set(asked.without.split(",")) - {""}
    scratch = Path(tempfile.mkdtemp(prefix="orchestrate-bench-", dir=asked.scratch))
    try:
        bench = Bench(scratch, left_out, is_quick=asked.quick)
        if unknown := set(asked.parts) - set(bench.parts):
            parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(bench.parts)}")
        bench.measure(asked.parts or list(bench.parts))
        sitting = Sitting.of(scratch, load_before, time.monotonic() - begun)
    finally:
        shutil.rmtree(scratch)  # only now: files made soon after deleting many are slow on some disks
    page = render(bench.found, sitting)
    print(page)
    is_whole = not (asked.parts or asked.quick or left_out)
    if is_whole:
        PAGE.write_text(page)
    picture = asked.picture or (PAGE.with_name(PICTURE) if is_whole else None)
    if picture is not None:
        picture.write_text(draw(bench.found))
    return 1 if bench.found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
