"""`make bench`: measures orchestrate beside others on this machine and writes docs/benchmarks.md. Takes some twenty minutes.

run.py                  all parts; writes the page
run.py --quick          1,000 jobs, 2 slots, 2 rounds; prints only
run.py --contest | --scale | --sharing | --chains | --start     only these parts; prints only
run.py --without orchestrate,parallel    leaves contestants out; prints only
run.py --scratch DIR    where the runs keep their state: a real disk, or durability costs nothing
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from chains import measure_chains
from contest import BenchError, Size, hold
from contestants import contestants
from report import Place, render
from scaling import measure_scale, measure_start_up
from sharing import measure_sharing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
SIZES = [Size(1_000, 2, 5), Size(1_000, 16, 5), Size(10_000, 2, 3), Size(10_000, 16, 3)]
QUICK_SIZES = [Size(1_000, 2, 2)]
SCALES = [1_000, 10_000, 100_000]
QUICK_SCALES = [1_000]


def main() -> int:
    """Exit 0; 1 if something that is measured did not do its work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("quick", "contest", "scale", "sharing", "chains", "start"):
        parser.add_argument(f"--{option}", action="store_true")
    parser.add_argument("--without", default="", metavar="NAMES")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), metavar="DIR")
    asked = parser.parse_args()
    every = not (asked.contest or asked.scale or asked.sharing or asked.chains or asked.start)
    scratch = Path(tempfile.mkdtemp(prefix="orchestrate-bench-", dir=asked.scratch))
    place = Place.of(scratch)
    try:
        left_out = set(asked.without.split(",")) - {""}
        entrants = [entrant for entrant in contestants(scratch) if entrant.name not in left_out]
        absent = {entrant.name: entrant.lacks for entrant in entrants if entrant.lacks}
        present = [entrant for entrant in entrants if not entrant.lacks]
        contest = hold(QUICK_SIZES if asked.quick else SIZES, present, scratch) if every or asked.contest else {}
        counts = QUICK_SCALES if asked.quick else SCALES
        scales = [measure_scale(count, scratch) for count in counts] if every or asked.scale else []
        sharing = measure_sharing(scratch, is_quick=asked.quick) if every or asked.sharing else None
        chains = measure_chains(50 if asked.quick else 1_000, scratch / "chains") if every or asked.chains else None
        starts = measure_start_up(3 if asked.quick else 11, scratch) if every or asked.start else []
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(scratch)  # only now: files made soon after deleting many are slow on some disks
    page = render(contest, absent, scales, sharing, chains, starts, place)
    print(page)
    if every and not asked.quick and not left_out:
        PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
