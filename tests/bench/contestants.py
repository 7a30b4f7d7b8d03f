"""Those who run the same jobs: each makes its folder ready beforehand and says the command that is measured.

The work is COUNT times `/bin/true NUMBER`, SLOTS at once. Who can keep outcomes and outputs is asked to.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

JOB = shutil.which("true") or "/bin/true"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Size:
    """`count` jobs, `slots` at once, measured in `rounds` rounds."""

    count: int
    slots: int
    rounds: int


@dataclass(frozen=True)
class Contestant:
    """`prepare(folder, count, slots)` writes what the command needs into `folder` and gives its argv; it is run there.

    `lacks` says why it cannot take part on this machine, if so. Who is slow takes part with at most `most_jobs` jobs, in
    `rounds` rounds of each size (None: in all).
    """

    name: str
    promise: str
    prepare: Callable[[Path, int, int], list[str]]
    lacks: str | None = None
    most_jobs: int = 10_000
    rounds: int | None = None

    def takes_part(self, size: Size) -> bool:
        """Whether it is measured at this size."""
        return size.count <= self.most_jobs


def contestants(scratch: Path) -> list[Contestant]:
    """All of them, in the order of the tables. The floor is compiled into `scratch`."""
    floor = scratch / "floor"
    compiler = shutil.which("cc")
    if compiler:
        subprocess.run([compiler, "-O2", "-Wall", "-o", str(floor), str(HERE / "floor.c")], check=True)
    return [
        Contestant(
            "floor",
            "a C loop over posix_spawn and waitpid; keeps nothing",
            lambda _folder, count, slots: [str(floor), str(count), str(slots), JOB, "0"],
            None if compiler else "no C compiler",
        ),
        Contestant("xargs", "`xargs -P -n 1`; keeps nothing", _xargs, _lacks("xargs")),
        Contestant("make", "`make -j`; keeps nothing", _make, _lacks("make")),
        Contestant("ninja", "`ninja -j`: what was made is kept in its log", _ninja, _lacks("ninja"), most_jobs=1_000),
        Contestant("orchestrate", "`orchestrate run`: outcomes durable, outputs kept, resumable", _orchestrate),
        Contestant(
            "doit",
            "`doit -n -P thread`: outcomes kept at the end",
            _doit,
            None if importlib.util.find_spec("doit") else "doit is not installed",
            most_jobs=1_000,
        ),
        Contestant(
            "parallel",
            "GNU parallel `--joblog --results`: outcomes and outputs kept",
            _parallel,
            _lacks_gnu_parallel(),
            most_jobs=1_000,
            rounds=2,
        ),
        Contestant(
            "hyperqueue",
            "HyperQueue, `hq submit --array` to a server with a journal, and a worker: outcomes and outputs kept",
            _hyperqueue,
            _lacks("hq"),
            most_jobs=1_000,
            rounds=2,
        ),
        Contestant(
            "snakemake",
            "`snakemake --cores`: what was made is kept, with metadata of each job",
            _snakemake,
            _lacks("snakemake"),
            most_jobs=100,
            rounds=1,
        ),
    ]


def orchestrate_command() -> list[str]:
    """The installed command, as a user starts it."""
    return [str(Path(sys.executable).parent / "orchestrate")]


def write_items(folder: Path, count: int) -> Path:
    """`folder`/items.txt: the numbers below `count`, one a line."""
    path = folder / "items.txt"
    path.write_text("".join(f"{number}\n" for number in range(count)))
    return path


def write_jobs_file(folder: Path, count: int, slots: int, command: list[str]) -> Path:
    """`folder`/jobs.toml: `command` for each of `count` lines."""
    write_items(folder, count)
    words = ", ".join(f'"{word}"' for word in command)
    path = folder / "jobs.toml"
    path.write_text(f'[run]\nslots = {slots}\n\n[jobs.noop]\nfor_each = {{ lines = "items.txt" }}\ncommand = [{words}]\n')
    return path


def _orchestrate(folder: Path, count: int, slots: int) -> list[str]:
    write_jobs_file(folder, count, slots, [JOB, "{{ item }}"])
    return [*orchestrate_command(), "run", "jobs.toml", "--quiet"]


def _xargs(folder: Path, count: int, slots: int) -> list[str]:
    return ["xargs", "-a", str(write_items(folder, count)), "-P", str(slots), "-n", "1", JOB]


def _parallel(folder: Path, count: int, slots: int) -> list[str]:
    keep = ["--joblog", str(folder / "joblog"), "--results", str(folder / "results")]
    return ["parallel", "--will-cite", *keep, "-j", str(slots), "-a", str(write_items(folder, count)), JOB, "{}"]


def _make(folder: Path, count: int, slots: int) -> list[str]:
    targets = " ".join(f"t{number}" for number in range(count))
    (folder / "Makefile").write_text(f"TARGETS := {targets}\n.PHONY: all $(TARGETS)\nall: $(TARGETS)\n$(TARGETS):\n\t@{JOB} $@\n")
    return ["make", "-s", f"-j{slots}"]


def _ninja(folder: Path, count: int, slots: int) -> list[str]:
    rule = f"rule noop\n  command = {JOB} $out\n"
    (folder / "build.ninja").write_text(rule + "".join(f"build t{number}: noop\n" for number in range(count)))
    return ["ninja", "--quiet", f"-j{slots}"]


def _hyperqueue(folder: Path, count: int, slots: int) -> list[str]:
    server = f"HQ_SERVER_DIR={folder}/server"
    script = (
        f"export {server}\nhq server start --journal {folder}/journal > server.out 2>&1 &\n"
        "until hq server info > info.out 2>&1; do sleep 0.05; done\n"
        f"hq worker start --cpus {slots} > worker.out 2>&1 &\n"
        f"hq submit --wait --array 1-{count} {JOB}\n"
        "hq server stop\nwait\n"
    )
    (folder / "run.sh").write_text(script)
    return ["/bin/sh", "run.sh"]


def _snakemake(folder: Path, count: int, slots: int) -> list[str]:
    (folder / "Snakefile").write_text(
        f'rule all:\n    input: expand("done/{{number}}", number=range({count}))\n'
        f'rule noop:\n    output: touch("done/{{number}}")\n    shell: "{JOB} {{wildcards.number}}"\n'
    )
    return ["snakemake", "--cores", str(slots), "--quiet", "all"]


def _doit(folder: Path, count: int, slots: int) -> list[str]:
    tasks = f"{{'name': str(number), 'actions': [['{JOB}', str(number)]]}}"
    (folder / "dodo.py").write_text(f"def task_noop():\n    for number in range({count}):\n        yield {tasks}\n")
    return [sys.executable, "-m", "doit", "-n", str(slots), "-P", "thread", "-r", "error-only"]


def _lacks(tool: str) -> str | None:
    return None if shutil.which(tool) else f"{tool} is not installed"


def _lacks_gnu_parallel() -> str | None:
    """moreutils has another program of that name."""
    if lacks := _lacks("parallel"):
        return lacks
    version = subprocess.run(["parallel", "--version"], capture_output=True, text=True, check=False).stdout
    return None if version.startswith("GNU parallel") else "the `parallel` here is not GNU parallel"
