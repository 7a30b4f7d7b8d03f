"""Records runs of one version of the program, which `test_recorded_runs.py` loads and resumes with the present one.

    python record.py VERSION [STORY…]

The checkout of that version lies in /tmp/recorded/program with its `.venv`, so that no path in a recording names a machine.
VERSION is a key of `STORIES` (`stories.py`). A change of a format adds a version there, recorded by the last program that wrote
the old format; what was recorded once is never recorded again.

A recording is a folder VERSION/STORY: `home` and `project` as they lay when nobody ran any more, `state` (what the demo agent
remembers), and `told.json`: what that very program said of the run, and which folders were empty, for git keeps none. Sockets and
locks are left out, whose truth is the kernel's, and `.git` is called `dot-git`, which git takes for a folder like any other.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stage import Stage
from stories import STORIES

HERE = Path(__file__).resolve().parent


def main() -> None:
    version, *names = sys.argv[1:]
    for story in STORIES[version]:
        if names and story.__name__ not in names:
            continue
        stage = Stage()
        try:
            story(stage)
            stage.save(HERE / version / story.__name__)
        finally:
            stage.kill_all()
        sys.stderr.write(f"{version}/{story.__name__}\n")


if __name__ == "__main__":
    main()
