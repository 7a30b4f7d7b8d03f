"""The library: runs in the caller's own process, which is afterwards what it was before, whatever else goes on in it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from drivers.processes import LIMIT_SECONDS, wait_until
from drivers.run_driver import RunDriver

from orchestrator import (
    JobsFileError,
    RunHeldError,
    RunResult,
    StateUnwritableError,
    Stopper,
    UserError,
    happenings,
    load,
    read_run,
    resume,
    resume_async,
    run,
    run_async,
)
from orchestrator.views.json_lines import with_times
from orchestrator.workers import faultpoints

FAN = """
[run]
slots = 2
[jobs.a]
for_each = ["x", "y", "z"]
shell = "sleep 0.0{{ 3 - index }}; echo {{ item }}"
[jobs.b]
for_each = { job = "a" }
continue_on_error = true
shell = "test {{ item }} != y"
"""


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """`call` in a thread; the list gets what it returns or raises."""
    told: list[Any] = []

    def work() -> None:
        try:
            told.append(call())
        except Exception as error:
            told.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, told


def ended(thread: threading.Thread) -> None:
    thread.join(LIMIT_SECONDS)
    assert not thread.is_alive(), f"it goes on after {LIMIT_SECONDS:g} s"


def state_of_process() -> dict[str, object]:
    gc.collect()
    fds = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            fds[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:  # of this very listing
            continue
    return {
        "descriptors": fds,
        "handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "threads": threading.enumerate(),
        "folder": os.getcwd(),
        "children": psutil.Process().children(),
    }


@contextmanager
def process_kept() -> Iterator[None]:
    before = state_of_process()
    yield
    assert state_of_process() == before


# What comes of it.


def test_results_are_those_of_the_command_in_item_order(driver: RunDriver, capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[happenings.Happening] = []
    result = run(driver.write(FAN), run_id=driver.run_id, on_event=heard.append)
    assert capfd.readouterr() == ("", "")
    assert (result.status, result.exit_code, result.counts) == ("failed", 1, {"succeeded": 5, "failed": 1})
    assert result.error is not None
    assert (result.error.item, result.error.message) == ("b:1", "exit code 1")
    assert [each.item for each in result.results] == ["a:0", "a:1", "a:2", "b:0", "b:1", "b:2"]
    # JSON has times as people read them, too, and of each item in a line why it is no success.
    items = [with_times({**each, "reason": each["error"]}) for each in msgspec.to_builtins(list(result.results))]
    assert items == driver.ask("results", driver.run_id)
    summary = with_times(msgspec.to_builtins(result))
    assert {key: summary[key] for key in summary.keys() - {"exit_code", "directory"}} == driver.ask("status", driver.run_id)
    assert (result.results[-2].status, result.results[1:3][1].output, len(result.results)) == ("failed", "z", 6)
    assert [each.item for each in result.results.where(job="b", status="failed")] == ["b:1"]
    assert [each.item for each in result.results.find("*:y")] == ["a:1", "b:1"]
    assert isinstance(heard[0], happenings.RunBegan)
    assert isinstance(heard[-1], happenings.RunFinished)


def test_inputs_are_typed_and_all_that_is_wrong_is_told(driver: RunDriver) -> None:
    file = driver.write("""
inputs.words = ["none"]
inputs.count = 1
[jobs.say]
command = ["echo", "{{ inputs.words | join('+') }}", "{{ inputs.count + 1 }}"]
""")
    assert run(file, inputs={"words": ("a", "b"), "count": 2}).results[0].output == "a+b 3"
    with pytest.raises(JobsFileError) as told:
        run(load(file), inputs={"words": "a", "count": Path("2"), "cuont": 1})
    assert len(told.value.problems) == 3
    assert "did you mean count?" in str(told.value)


def test_only_what_is_selected_runs_until_everything_may(driver: RunDriver) -> None:
    first = run(driver.write(FAN), only=["a:x"])
    assert (first.selection and first.selection.selected, first.counts) == (1, {"succeeded": 1, "skipped": 2})
    assert resume(first, everything=True).counts == {"succeeded": 5, "failed": 1}


# Several at once, and what is left of them.


def test_runs_in_threads_disturb_neither_each_other_nor_the_process(driver: RunDriver) -> None:
    file = driver.write(FAN)
    run(file)  # what is loaded once stays loaded
    with process_kept():
        running = [in_thread(lambda: run(file).counts) for _ in range(3)]
        for thread, told in running:
            ended(thread)
            assert told == [{"succeeded": 5, "failed": 1}]


def test_an_inline_run_leaves_the_process_as_it_was(driver: RunDriver) -> None:
    file = driver.write(FAN)
    run(file, slots=0)
    with process_kept():
        assert run(file, slots=0).counts == {"succeeded": 5, "failed": 1}


def test_an_inline_run_stays_out_of_threads_and_away_from_others(driver: RunDriver, home: Path) -> None:
    file = driver.write(f"[jobs.wait]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    thread, told = in_thread(lambda: run(file, slots=0))
    ended(thread)
    assert isinstance(told[0], UserError)
    assert "main thread" in told[0].message
    thread, told = in_thread(lambda: run(file, slots=1).status)
    driver.wait_for("begin", "wait")
    with pytest.raises(RunHeldError, match="must be the only one"):
        run(file, slots=0)
    driver.open_gate()
    ended(thread)
    assert told == ["completed"]
    assert len(list((home / "runs").iterdir())) == 1, "what is refused begins no run"


def test_two_threads_cannot_supervise_one_run(driver: RunDriver) -> None:
    file = driver.write(f"[jobs.wait]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    thread, told = in_thread(lambda: run(file).status)
    driver.wait_for("begin", "wait")
    assert (read_run().status, read_run().exit_code) == ("running", None)
    with pytest.raises(RunHeldError, match=f"supervised by process {os.getpid()}"):
        resume()
    driver.open_gate()
    ended(thread)
    assert told == ["completed"]


def test_a_program_that_reaps_all_children_does_not_disturb_a_run(driver: RunDriver) -> None:
    """In a process of its own: SIGCHLD ignored, the kernel reaps its workers."""
    driver.write(FAN)
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    argv = [sys.executable, "-c", f"{ignoring}; from orchestrator import run; print(run('jobs.toml').counts)"]
    said = subprocess.run(argv, cwd=driver.folder, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    assert (said.stdout, said.stderr) == ("{'succeeded': 5, 'failed': 1}\n", "")


# Stopping.


def chain_of_two(driver: RunDriver) -> Path:
    return driver.write("[run]\nslots = 1\n[jobs.go]\nfor_each = [0, 1]\nshell = ':'\n")


def stopped_well(result: RunResult, exit_code: int) -> None:
    """go:0 has ended, go:1 was not begun, and a resume runs just that."""
    assert (result.status, result.exit_code) == ("interrupted", exit_code)
    assert [each.status for each in result.results] == ["succeeded", "pending"]
    again = resume(result)
    assert (again.status, [each.attempts for each in again.results]) == ("completed", [1, 1])


def test_ctrl_c_in_the_main_thread_drains_as_at_the_command(driver: RunDriver) -> None:
    def press(event: happenings.Happening) -> None:
        if isinstance(event, happenings.ItemStarted) and event.item == "go:0":
            signal.raise_signal(signal.SIGINT)

    stopped_well(run(chain_of_two(driver), on_event=press), 130)


def test_without_signals_the_callers_own_handler_is_called(driver: RunDriver) -> None:
    stopper = Stopper()
    old = signal.signal(signal.SIGINT, lambda *_: stopper.stop())
    try:

        def press(event: happenings.Happening) -> None:
            if isinstance(event, happenings.ItemStarted):
                signal.raise_signal(signal.SIGINT)

        stopped_well(run(chain_of_two(driver), on_event=press, stopper=stopper, signals=False), 143)
    finally:
        signal.signal(signal.SIGINT, old)


def test_a_stopper_stops_runs_of_all_threads_at_once(driver: RunDriver) -> None:
    file = driver.write(
        f"[run]\nslots = 1\n[jobs.go]\nfor_each = [0, 1]\ngrace = '1s'\nshell = '''{driver.witnessed('sleep 600')}'''\n"
    )
    stopper = Stopper()
    running = [in_thread(lambda: run(file, stopper=stopper)) for _ in range(2)]
    driver.wait_for("begin", "go:0", times=2)
    stopper.stop()
    stopper.stop(now=True)
    for thread, told in running:
        ended(thread)
        assert (told[0].status, told[0].exit_code) == ("interrupted", 143)
        assert [each.status for each in told[0].results] == ["interrupted", "pending"]
    late = run(file, stopper=stopper)
    assert (late.status, len(late.results)) == ("interrupted", 0), "one that is pressed already starts nothing"


def test_what_on_event_raises_drains_the_run_and_is_raised(driver: RunDriver) -> None:
    calls = []

    def broken(event: happenings.Happening) -> None:
        if isinstance(event, happenings.ItemStarted):
            calls.append(event.item)
            raise KeyError(event.item)

    with pytest.raises(KeyError, match="go:0"):
        run(chain_of_two(driver), on_event=broken)
    assert calls == ["go:0"]
    stopped_well(read_run(), 143)


def test_a_stopper_ends_the_wait_for_another_run_of_the_file(driver: RunDriver) -> None:
    file = driver.write(f"[jobs.wait]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    first, told_first = in_thread(lambda: run(file).status)
    driver.wait_for("begin", "wait")
    stopper = Stopper()
    second, told_second = in_thread(lambda: run(file, overlap="wait", stopper=stopper))
    assert run(file, overlap="skip").status == "skipped"
    stopper.stop()
    ended(second)
    assert isinstance(told_second[0], RunHeldError)
    driver.open_gate()
    ended(first)
    assert told_first == ["completed"]


# asyncio.


def test_a_coroutine_tells_its_events_in_the_loop_and_what_is_cancelled_drains(driver: RunDriver) -> None:
    file = driver.write(f"[run]\nslots = 1\n[jobs.go]\nfor_each = [0, 1]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    threads: set[threading.Thread] = set()

    def hear(event: happenings.Happening) -> None:
        threads.add(threading.current_thread())
        if isinstance(event, happenings.ItemStarted):
            task.cancel()
        if isinstance(event, happenings.Noted) and event.message.startswith("stopping"):
            driver.open_gate()

    async def main() -> RunResult:
        nonlocal task
        task = asyncio.current_task()  # type: ignore[assignment]
        with pytest.raises(asyncio.CancelledError):
            await run_async(file, on_event=hear)
        task.uncancel()
        interrupted = read_run()
        assert [each.status for each in interrupted.results] == ["succeeded", "pending"]
        driver.open_gate()
        return await resume_async(interrupted)

    task: asyncio.Task[RunResult] = None  # type: ignore[assignment]
    result = asyncio.run(main())
    assert (result.status, threads) == ("completed", {threading.main_thread()})


def test_cancelling_once_more_ends_what_runs(driver: RunDriver) -> None:
    file = driver.write(f"[jobs.go]\ngrace = '1s'\nshell = '''{driver.witnessed('sleep 600')}'''\n")

    def hear(event: happenings.Happening) -> None:
        if isinstance(event, happenings.ItemStarted) or (
            isinstance(event, happenings.Noted) and event.message.startswith("stopping")
        ):
            tasks[0].cancel()

    async def main() -> None:
        tasks.append(asyncio.current_task())
        await run_async(file, on_event=hear)

    tasks: list[Any] = []
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert [each.status for each in read_run().results] == ["interrupted"]


# A run that breaks off, in a process that goes on.


def children() -> set[psutil.Process]:
    """Of this process; the one that commands are forked from is among them."""
    return set(psutil.Process().children())


def test_a_run_that_broke_off_goes_on_in_the_same_process(driver: RunDriver) -> None:
    """The token that its item kept through a backoff is nobody's any more, although the process that held it lives."""
    before = children()
    file = driver.write(f"""
[run]
slots = 2
[jobs.again]
token = "again"
attempts = 2
retry = {{ delay = "1h" }}
shell = '''test -e mended || {{ {driver.gated("again")}; exit 1; }}'''
[jobs.other]
shell = '''{driver.witnessed(driver.gated("other"))}'''
""")

    def fill(event: happenings.Happening) -> None:
        if isinstance(event, happenings.ItemRetrying):
            faultpoints.arm("journal.write:2:ENOSPC")  # the retry itself is recorded
            stopper.stop(now=True)

    stopper = Stopper()
    try:
        thread, told = in_thread(lambda: run(file, on_event=fill, stopper=stopper))
        driver.wait_for("begin", "other")
        driver.open_gate("again")
        ended(thread)
    finally:
        faultpoints.arm(None)
    assert isinstance(told[0], StateUnwritableError)
    assert read_run().status == "interrupted"
    (driver.folder / "mended").touch()
    driver.open_gate("other")
    assert resume().status == "completed"
    assert driver.acts("begin") == {"other": 1}
    wait_until(lambda: children() <= before, "the worker that was left behind is reaped when it ends")
