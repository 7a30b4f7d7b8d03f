"""`--profile FILE`: where the time of a supervisor went, by part of the loop. For users' reports of what is slow.

Promise: a run without it pays nothing: PARTS names functions, which are replaced by ones that look at the clock while a run is
profiled, and put back after it. What it says is numbers, versions and names of our own parts: no command, no path, no name of a
user's. It is written in whatever way the run ends, but for SIGKILL; a file that could not be written is refused before the run.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec

import orchestrator
from orchestrator.cli.output import check_replaceable, replaced
from orchestrator.errors import UserError
from orchestrator.views.happenings import Happening, RunBegan, RunFinished
from orchestrator.workers.processes.identity import start_ticks

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runs.commands import RunReport
    from orchestrator.views.listeners import Listeners
    from orchestrator.views.prompt import Prompt

PARTS = {
    "start: read the jobs file": ("jobsfile.load:load", "jobsfile.load:load_text"),
    "start: make or find the run": ("runs.commands:launch_run", "runs.commands:create_run"),
    "start: read the records": ("store.run_store:RunStore.open",),
    "start: restore what is recorded": ("supervisor.session:open_session",),
    "start: join the parts": ("supervisor.session:Parts",),
    "waiting": ("supervisor.inbox:Inbox._readable",),
    "reading news": ("supervisor.inbox:Inbox.wait",),
    "ends": ("supervisor.attempt_ends:AttemptEnds.take_in", "supervisor.attempt_ends:AttemptEnds.judged"),
    "ends: settlement": ("supervisor.settlements:Settlements.settle",),
    "core": ("supervisor.loop:decide",),
    "lists of items": ("supervisor.lists:ItemLists.list_items", "supervisor.lists:ItemLists.go_on"),
    "starts": ("supervisor.attempt_starts:AttemptStarts.start",),
    "starts: rendering": ("attempts.preparer:Preparer.prepare_start",),
    "starts: admission": ("supervisor.admission:Admission.admit",),
    "starts: message": ("attempts.message:StartMessages.compose_start",),
    "starts: sending": ("supervisor.flights:Flights.send",),
    "commit": ("supervisor.recorder:Recorder.commit",),
    "commit: journal": ("store.run_store:RunStore.append",),
    "waiting for a sync": ("store.run_store:RunStore.make_durable",),
    "checkpoints": ("store.run_store:RunStore.take_checkpoint",),
    "views": ("views.listeners:Listeners.hear", "views.listeners:Listeners.refresh_if_due"),
    "control": ("supervisor.requests:Requests.obey", "control.server:ControlServer.answer"),
    "gates": ("supervisor.gates:Gates.ask", "supervisor.gates:Gates.take_in", "supervisor.gates:Gates.show_next_question"),
    "the loop's own": ("supervisor.loop:Loop.run",),
    "end: last records": ("supervisor.run_end:RunEnd.record",),
    "end: workers go": ("engines.local:LocalEngine.close",),
}
"""What is told, in this order, and where it is done: a module of ours and a function or a method in it. The time of
a part is without that of the parts that it calls."""

SYNC = "store.syncer:_try_sync"
REST = "start and end: all else"


class Part(msgspec.Struct):
    """What one part took: by the clock, and of a CPU."""

    calls: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def rest(cls, whole: tuple[float, float], *parts: Part) -> Part:
        """What of `whole` (seconds, CPU seconds) none of the parts took."""
        seconds, cpu_seconds = whole
        return cls(1, seconds - sum(part.seconds for part in parts), cpu_seconds - sum(part.cpu_seconds for part in parts))


class Clock:
    """Times the functions of one thread: of each part how often it was called, and how long without what it called."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {name: Part() for name in PARTS}
        self.syncs = Part()
        self._inner = [(0.0, 0.0)]
        """Of each function that is being timed, what those took that it has called; the first is of none."""
        self._thread = threading.get_ident()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose time is part `name`; of a generator it is the time of its steps."""
        part, inner = self.parts[name], self._inner

        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            # A listener's thread, say: its time is not the loop's.
            if threading.get_ident() != self._thread:
                return function(*args, **named)
            inner.append((0.0, 0.0))
            begun = _now()
            try:
                return function(*args, **named)
            finally:
                seconds, cpu = _since(begun)
                inner_seconds, inner_cpu = inner.pop()
                part.calls += 1
                part.seconds += seconds - inner_seconds
                part.cpu_seconds += cpu - inner_cpu
                outer_seconds, outer_cpu = inner[-1]
                inner[-1] = (outer_seconds + seconds, outer_cpu + cpu)

        @functools.wraps(function)
        def generate(*args: Any, **named: Any) -> Iterator[Any]:
            step = self.timed(name, function(*args, **named).__next__)
            while True:
                try:
                    one = step()
                except StopIteration:
                    return
                yield one

        return generate if inspect.isgeneratorfunction(function) else call

    def counted_sync(self, sync: Callable[..., Any]) -> Callable[..., Any]:
        """`sync`, which is mostly called on a thread of its own: its time is beside that of the parts."""

        @functools.wraps(sync)
        def call(*args: Any) -> Any:
            begun = _now()
            try:
                return sync(*args)
            finally:
                self.syncs.calls += 1
                self.syncs.seconds += _since(begun)[0]

        return call


class Profile:
    """Of one run, to be written to `path`. It is a listener, too: it hears of slots and items. Raises UserError."""

    shows_time = False
    follows_items = False

    def __init__(self, path: str) -> None:
        check_replaceable(path)
        self._path = path
        self._slots = 0
        self._attempts = 0
        self._items_cpu = 0.0
        self._finished: RunFinished | None = None

    def hear(self, happening: Happening) -> None:
        if isinstance(happening, RunBegan):
            self._slots = happening.slots
        elif isinstance(happening, RunFinished):
            self._finished = happening

    def refresh(self, now: float) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing to restore."""

    def around(self, start: Callable[[Path, Listeners, Prompt | None], RunReport]) -> Callable[..., RunReport]:
        """`start`, profiled: the file is written when it returns, or raises."""

        def profiled(home: Path, listeners: Listeners, prompt: Prompt | None) -> RunReport:
            load_before = os.getloadavg()[0]
            before = Part(1, _seconds_of_this_process(), time.process_time())
            clock, loading = Clock(), Part()
            ended_by = ""
            begun = _now()
            try:
                with ExitStack() as put_back:
                    self._replace_functions(clock, put_back)
                    loading = Part(1, *_since(begun))
                    return start(home, listeners, prompt)
            except BaseException as error:
                ended_by = type(error).__name__
                raise
            finally:
                took = _since(begun)
                steps = {
                    "start: Python and the command": before,
                    "start: loading modules": loading,
                    **{name: part for name, part in clock.parts.items() if part.calls},
                    REST: Part.rest(took, loading, *clock.parts.values()),
                }
                self._write(self._findings(clock, steps, ended_by, before.seconds + took[0], load_before))

        return profiled

    def _replace_functions(self, clock: Clock, put_back: ExitStack) -> None:
        for name, places in PARTS.items():
            for place in places:
                _replace(place, functools.partial(clock.timed, name), put_back)
        _replace(SYNC, clock.counted_sync, put_back)
        _replace("supervisor.attempt_ends:AttemptEnds.take_in", self._noting_cpu, put_back)

    def _noting_cpu(self, take_in: Callable[..., Any]) -> Callable[..., Any]:
        """The end of an attempt tells what its processes have used."""

        @functools.wraps(take_in)
        def call(ends: Any, flight: Any, outcome: Any) -> Any:
            self._attempts += 1
            self._items_cpu += outcome.cpu_seconds
            return take_in(ends, flight, outcome)

        return call

    def _findings(
        self, clock: Clock, steps: dict[str, Part], ended_by: str, seconds: float, load_before: float
    ) -> dict[str, Any]:
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        finished = self._finished
        return {
            "version": orchestrator.__version__,
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "load_before": load_before,
            "load_after": os.getloadavg()[0],
            "slots": self._slots,
            "items": finished.summary.get("counts", {}) if finished is not None else {},
            "attempts": self._attempts,
            "exit_code": finished.exit_code if finished is not None else None,
            "ended_by": ended_by,
            "seconds": seconds,
            "cpu_seconds": {
                "supervisor": own.ru_utime + own.ru_stime,
                "workers": max(0.0, children.ru_utime + children.ru_stime - self._items_cpu),
                "items": self._items_cpu,
            },
            "peak_bytes": own.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "turns": clock.parts["waiting"].calls,
            "wakes": own.ru_nvcsw,
            "syncs": clock.syncs.calls,
            "sync_seconds": clock.syncs.seconds,
            "bytes": _bytes_of_this_process(),
            "parts": msgspec.to_builtins(steps),
        }

    def _write(self, found: dict[str, Any]) -> None:
        """A run is what it is, whether or not this can be written."""
        text = msgspec.json.format(msgspec.json.encode(found)) if self._path.endswith(".json") else _text(found).encode()
        try:
            with replaced(self._path) as file:
                file.write(text.rstrip(b"\n") + b"\n")
        except UserError as error:
            from orchestrator.views.outlet import Outlet

            Outlet(sys.stderr).line(f"orchestrate: the profile could not be written: {error.message}")


def _replace(place: str, by: Callable[[Any], Any], put_back: ExitStack) -> None:
    module, _, names = place.partition(":")
    *outer, name = names.split(".")
    where: Any = importlib.import_module(f"orchestrator.{module}")
    for each in outer:
        where = getattr(where, each)
    # As it stands in the class: a class method is bound when it is asked for.
    stands = inspect.getattr_static(where, name)
    made = classmethod(by(stands.__func__)) if isinstance(stands, classmethod) else by(stands)
    is_own = name in vars(where)
    setattr(where, name, made)
    put_back.callback(setattr, where, name, stands) if is_own else put_back.callback(delattr, where, name)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    """Seconds, and seconds of a CPU, in this thread."""
    return time.perf_counter() - begun[0], time.thread_time() - begun[1]


def _seconds_of_this_process() -> float:
    """How long this process is there already; 0.0 where that is not told."""
    ticks = start_ticks(os.getpid())
    if ticks is None or not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def _bytes_of_this_process() -> dict[str, int]:
    """What it has read and written, sockets and pipes included; empty where that is not told."""
    try:
        with open("/proc/self/io", encoding="ascii") as file:
            fields = dict(line.split(": ") for line in file.read().splitlines())
    except OSError:
        return {}
    return {"read": int(fields["rchar"]), "written": int(fields["wchar"])}


def _text(found: dict[str, Any]) -> str:
    items = ", ".join(f"{count:,} {status}" for status, count in found["items"].items()) or "items unknown"
    end = f"ended by {found['ended_by']}" if found["ended_by"] else f"exit code {found['exit_code']}"
    cpu = ", ".join(f"{kind} {seconds:.3f}" for kind, seconds in found["cpu_seconds"].items())
    moved = "".join(f"; {count:,} bytes {word}" for word, count in found["bytes"].items())
    lines = [
        f"orchestrate {found['version']}, {found['python']}, {found['platform']}, {found['cpus']} CPUs",
        f"load before {found['load_before']:.2f}, after {found['load_after']:.2f}",
        f"{found['slots']} slots; {items}; {found['attempts']:,} attempts ended; {end}; {found['seconds']:.3f} s",
        f"CPU s: {cpu}; peak memory {found['peak_bytes'] / 2**20:.0f} MiB",
        f"{found['turns']:,} turns; {found['wakes']:,} wake-ups; {found['syncs']:,} syncs, {found['sync_seconds']:.3f} s{moved}",
        "",
        f"{'part':36}{'calls':>10}{'CPU s':>10}{'seconds':>10}{'share':>8}",
    ]
    for name, part in found["parts"].items():
        share = part["seconds"] / found["seconds"] if found["seconds"] else 0.0
        lines.append(f"{name:36}{part['calls']:>10,}{part['cpu_seconds']:>10.3f}{part['seconds']:>10.3f}{share:>8.1%}")
    return "\n".join(lines) + "\n"
