"""One process of an attempt, its agent or its check: started, recorded in the worker's log, watched until its tree is gone.

Order, and why: `Spawned` is logged at once after the spawn, so that a kill finds the process; what cannot be logged is found by
the mark in its environment. The current directory becomes the attempt's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec

from ..faultpoints import fault_point
from ..files.beneath import enter_beneath, real_root
from ..files.given import stdin_file
from ..protocol import LogLine, Spawned, Start, WorkspaceTask
from . import tree
from .carried_locks import LockCarrier
from .identity import boot_clock, start_ticks_of_child
from .reaping import Reaped, reaper
from .spawn import CannotStart, Spawner
from .surroundings import Bounds, Control, Host, Onlooker, Stream
from .variables import base_environment
from .watch import Watch, first_wait_seconds


class Spawn(msgspec.Struct, frozen=True):
    """A process that was just started, after `clock_before` (`identity.boot_clock`)."""

    pid: int
    clock_before: int


class ProcessRunner:
    """Starts and watches the processes of attempts, one after another, with the files of one worker's `folder`.

    `append` writes a line to the worker's log and raises nothing; `on_log_error` hears why a line could not even be made.
    """

    def __init__(
        self,
        folder: str,
        control: Control,
        strangers: frozenset[int],
        append: Callable[[LogLine], None],
        on_log_error: Callable[[OSError], None],
    ) -> None:
        self._folder = folder
        self._append = append
        self._on_log_error = on_log_error
        self._host = Host(folder, control, strangers, tree.become_subreaper())
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._spawner = Spawner(base_environment(folder))
        self._carrier = LockCarrier()

    def start(
        self, start: Start, argv: list[str], given: str | int | None, outputs: tuple[int, int], locks: Sequence[int]
    ) -> Spawn:
        """Start `argv` in the folder and environment of `start`. `outputs` become its descriptors 1 and 2. To be watched at once.

        `given` is its stdin: a text, a descriptor (which is closed here), or None for /dev/null. Raises CannotStart, or OSError:
        our own files cannot be written, or the machine has no room.
        """
        stdin = self._null if given is None else given if isinstance(given, int) else stdin_file(given, self._folder)
        try:
            enter(start.cwd, None if start.workspace is None else _bounds(start.workspace))
            # The locks live as long as the process and all that it starts, and none of these can unlock them.
            carried = self._carrier.carry(locks)
            clock = boot_clock()
            return Spawn(self._spawner.spawn(start, argv, (stdin, *outputs), carried), clock)
        finally:
            if stdin != self._null:
                os.close(stdin)

    def watch(
        self,
        spawned: Spawn,
        start: Start,
        streams: Sequence[Stream],
        bounds: Bounds,
        onlooker: Onlooker | None = None,
    ) -> Watch:
        """Tell the log of the process; a watch over it, to be run. Nothing that goes wrong here may read as "not started"."""
        self._tell_log(spawned, start)
        return Watch(spawned.pid, start, self._host, streams, bounds, onlooker)

    def watch_command(self, spawned: Spawn, start: Start, streams: Sequence[Stream], bounds: Bounds) -> Watch | Reaped:
        """As `watch`; of a command that exits with 0 in its first moments, and leaves nothing behind, at once what it used.

        So end most of a long list: they pay for no more than the wait for it. All others are watched on from there.
        """
        self._tell_log(spawned, start)
        ends = self._host.control.wait(first_wait_seconds(bounds))
        # That there is no other child proves that nothing is left, but only where orphans come to this process.
        seen = [reaper().reap()]
        if seen[0].pid == spawned.pid and not seen[0].status and not ends and self._host.is_subreaper:
            seen.append(reaper().reap())
            if seen[1].pid < 0:
                return seen[0]
        watch = Watch(spawned.pid, start, self._host, streams, bounds, None)
        watch.take_up([child for child in seen if child.pid > 0], ends)
        return watch

    def _tell_log(self, spawned: Spawn, start: Start) -> None:
        fault_point("worker.spawned")
        # If this line cannot be written the process runs on: the mark in its environment leads to it as well.
        try:
            ticks, more = start_ticks_of_child(spawned.pid, spawned.clock_before)
        except OSError as error:
            self._on_log_error(error)
        else:
            self._append(Spawned(sequence=start.sequence, pid=spawned.pid, start_ticks=ticks, ticks_more=more))

    def let_go_of_locks(self) -> None:
        """Hold none for a process any more. Due before they are closed."""
        self._carrier.let_go()

    def close(self) -> None:
        """This process is what it was again, but for its current directory."""
        self._carrier.let_go()
        os.close(self._null)
        tree.resign_as_subreaper()


def enter(folder: str, bounds: str | None = None) -> None:
    """Make it the current directory, whatever a link in its place leads to; but with `bounds` (a folder) only beneath that.

    Raises CannotStart.
    """
    try:
        if bounds is None:
            os.chdir(folder)
        else:
            enter_beneath(folder, real_root(bounds))
    except OSError as error:
        raise CannotStart(f"cwd {folder}: {error.strerror}") from error
    except ValueError as error:
        raise CannotStart(f"cwd {folder!r}: {error}") from error


def _bounds(workspace: WorkspaceTask) -> str | None:
    """What the attempt may not leave; None: it works in the user's own folders."""
    return None if workspace.kind == "shared" else workspace.path
