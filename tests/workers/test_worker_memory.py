"""`memory`: what the processes of an attempt may use together."""

from __future__ import annotations

import re
import signal
import sys

from drivers.processes import is_living, pids_in
from drivers.worker_driver import WorkerDriver

from orchestrator.workers.protocol import AttemptClass, EndReason

MIB = 1 << 20
TAKE = f"{sys.executable} -S -c 'import os, time; print(os.getpid(), flush=True); held = bytearray(60 << 20); time.sleep(600)'"


def test_what_outgrows_its_memory_is_ended_and_told_in_words(worker: WorkerDriver) -> None:
    outcome = worker.shell(f"exec {TAKE}", memory_bytes=40 * MIB)
    assert (outcome.attempt_class, outcome.ended_by) == (AttemptClass.MEMORY, EndReason.MEMORY)
    assert outcome.signal == signal.SIGTERM
    told = re.fullmatch(r"its processes used ([0-9.]+) MiB, more than memory = 40 MiB", outcome.message)
    assert told, outcome.message
    assert 40 < float(told[1]) < 200


def test_the_processes_count_together_also_those_that_went_their_own_way(worker: WorkerDriver) -> None:
    """Each alone is allowed."""
    script = f"setsid {TAKE} >> pids & {TAKE} >> pids & wait"
    outcome = worker.shell(script, memory_bytes=100 * MIB)
    assert outcome.attempt_class is AttemptClass.MEMORY, outcome.message
    assert not any(is_living(pid) for pid in pids_in(worker.root / "pids", 2))


def test_what_ignores_the_warning_is_killed_after_its_grace(worker: WorkerDriver) -> None:
    outcome = worker.shell(f"trap '' TERM; exec {TAKE}", memory_bytes=40 * MIB, grace_seconds=0.2)
    assert (outcome.attempt_class, outcome.signal) == (AttemptClass.MEMORY, signal.SIGKILL)


def test_what_cleans_up_and_exits_well_has_failed_all_the_same(worker: WorkerDriver) -> None:
    outcome = worker.shell(f"trap 'echo cleaned; kill $!; exit 0' TERM; {TAKE} & wait", memory_bytes=40 * MIB)
    assert (outcome.attempt_class, outcome.exit_code) == (AttemptClass.MEMORY, 0)
    assert b"cleaned" in (outcome.stdout.inline or b"")


def test_what_stays_below_is_left_alone(worker: WorkerDriver) -> None:
    """Long enough for several looks."""
    outcome = worker.run("sleep", "0.7", memory_bytes=40 * MIB)
    assert outcome.attempt_class is AttemptClass.OK


def test_the_first_reason_for_an_end_is_the_one_that_is_told(worker: WorkerDriver) -> None:
    start = worker.start("sh", "-c", f"trap '' TERM; exec {TAKE} >> pids", memory_bytes=40 * MIB, grace_seconds=600)
    (pid,) = pids_in(worker.root / "pids", 1)
    worker.end(start, EndReason.CANCEL, grace=0.5)
    outcome = worker.outcome()
    assert not is_living(pid)
    assert outcome.ended_by in (EndReason.CANCEL, EndReason.MEMORY)  # whichever came first
    assert outcome.attempt_class is (AttemptClass.CANCELLED if outcome.ended_by is EndReason.CANCEL else AttemptClass.MEMORY)
