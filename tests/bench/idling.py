"""What our processes cost while 64 agents do nothing that anybody could see."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from contest import BenchError, environment, told
from contestants import orchestrate_command
from meter import end_meter, start_meter

SETTLE_SECONDS = 60.0
"""From then on their memory is looked at as seldom as ever (docs/jobs-files.md)."""
START_LIMIT_SECONDS = 120.0
END_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class IdleAgents:
    """`agents` with a `timeout`, a `stall_timeout` and a `memory`, watched for `seconds`: all our `processes` together."""

    agents: int
    seconds: float
    processes: int
    cpu_percent: float
    """Of a core."""
    wakes_a_second: float


def measure_idle_agents(agents: int, seconds: float, scratch: Path, *, settle_seconds: float = SETTLE_SECONDS) -> IdleAgents:
    """The demo agent stands for all: it is told to sleep. Raises BenchError."""
    told(f"{agents} idle agents")
    folder = scratch / "agents"
    folder.mkdir()
    (folder / "jobs.toml").write_text(
        f'[run]\nslots = {agents}\n\n[jobs.wait]\nfor_each = "{{{{ range({agents}) | list }}}}"\n'
        f'max_concurrency = {agents}\nagent = "demo"\nprompt = "sleep 3600"\n'
        'timeout = "1h"\nstall_timeout = "1h"\nmemory = "1GB"\n'
    )
    argv = [*orchestrate_command(), "run", "jobs.toml", "--quiet"]
    meter = start_meter(argv, cwd=folder, env=environment(folder), report=folder / "report.json")
    try:
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while (started := sum(map(_is_agent, _tree(meter.pid)))) < agents:
            if meter.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{started} of {agents} agents have started")
            time.sleep(0.5)
        time.sleep(settle_seconds)
        ours = [each for each in _tree(meter.pid) if not _is_agent(each)]
        before, begun = _used(ours), time.monotonic()
        time.sleep(seconds)
        after, took = _used(ours), time.monotonic() - begun
        if meter.poll() is not None or sum(map(_is_agent, _tree(meter.pid))) < agents:
            raise BenchError("an agent has ended, and should do nothing")
    finally:
        for supervisor in psutil.Process(meter.pid).children()[:1] if meter.poll() is None else ():
            for _ in range(2):  # the second ends at once what runs
                supervisor.terminate()
                time.sleep(1.0)
        try:
            meter.wait(END_LIMIT_SECONDS)
        finally:
            end_meter(meter)
    return IdleAgents(agents, took, len(ours), (after[0] - before[0]) / 1e7 / took, (after[1] - before[1]) / took)


def _tree(meter: int) -> list[psutil.Process]:
    return psutil.Process(meter).children(recursive=True)


def _is_agent(process: psutil.Process) -> bool:
    try:
        return any("demo_agent" in word for word in process.cmdline())
    except psutil.Error:
        return False


def _used(processes: list[psutil.Process]) -> tuple[int, int]:
    """Nanoseconds on a CPU, and how often a thread of them has gone to sleep: as often it was woken."""
    nanoseconds = wakes = 0
    for process in processes:
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            nanoseconds += int((thread / "schedstat").read_text().split()[0])
            fields = dict(line.split(":", 1) for line in (thread / "status").read_text().splitlines())
            wakes += int(fields["voluntary_ctxt_switches"])
    return nanoseconds, wakes
