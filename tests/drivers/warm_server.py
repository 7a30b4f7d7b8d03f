"""A process that has imported the program, and forks a process of its own for each call. `warm_program` speaks to it.

Promise: what runs in a fork finds what it would find after `python -m MODULE WORDS`: arguments, environment (also what
`/proc` tells of it), folder, streams, signals, session, `sys.path`, and no descriptor but its streams. It runs `__main__.py`, and
ends as Python ends: exit handlers, flushed streams, exit code, traceback.
Invariant: this process has one thread and opens no file of a run, so a fork inherits no lock of anybody's.
What it refuses, because Python reads it before any code can run: see `warm_program.needs_own_interpreter`.

On the socket whose number is its argument comes a socket for each call. On that come three descriptors and the call; back go the
pid and, when the process has ended, its exit code. Once that was taken in (no more comes from the other side) the process is
waited for.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import sys
import threading
import time
from types import ModuleType
from typing import Any

import msgspec

import orchestrator
from drivers.forked_process import reset_signals, show_in_proc, take_streams
from orchestrator.errors import UserError
from orchestrator.jobsfile import agent_keys, keys
from orchestrator.jobsfile.language.decode import fields_of
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.profiles import keys as profile_keys
from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.system.redaction import forms_in

LENGTH = struct.Struct("=I")
NUMBER = struct.Struct("=i")
LOADED_LATE = (
    "jinja2.sandbox",
    "rich.console",
    "rich.live",
    "rich.table",
    "rich.text",
    "tempfile",
    "subprocess",
    "tomllib",
    "zlib",
)
"""What commands import when they need it, of others."""


REHEARSED = """
[inputs]
name = "a"
[jobs.list]
command = ["printf", "{{ inputs.name }}"]
output = "lines"
[jobs.work]
for_each = "{{ jobs.list.output }}"
shell = "echo {{ item }} {{ inputs.name | upper }}"
timeout = "1m"
"""


class Server:
    """Forks on request until the other side of the socket `control` is closed."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._connections: dict[int, int] = {}
        """Process -> where its exit code is waited for."""
        self._told: dict[int, int] = {}
        """Connection -> the process whose end was told there, and which is not waited for yet."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._poll = select.poll()

    def serve(self) -> dict[str, Any]:
        """Returns in each forked process, with the call that it is for; elsewhere never."""
        woken, waking = os.pipe()
        os.set_blocking(waking, False)
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests: they close the socket
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(woken, select.POLLIN)
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor == woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._tell_ends()
                elif descriptor in self._told:
                    self._wait_for(descriptor)
                elif call := self._take_call():
                    return call

    def _take_call(self) -> dict[str, Any] | None:
        """Fork for the next call. In the forked process: the call."""
        [connection] = receive_descriptors(self._control, 1)[1] or [None]
        if connection is None:
            os._exit(0)
        size, streams = receive_descriptors(connection, LENGTH.size)
        call: dict[str, Any] = json.loads(read_exactly(connection, LENGTH.unpack(size)[0]))
        # A signal that comes before the new process handles signals as Python does waits for that.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = os.fork()
        if pid == 0:
            take_streams(streams)
            reset_signals()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            return call
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for stream in streams:
            os.close(stream)
        self._connections[pid] = connection
        self._tell(pid, pid)
        return None

    def _tell_ends(self) -> None:
        for pid in list(self._connections):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                continue
            self._tell(pid, ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
            connection = self._connections.pop(pid)
            self._told[connection] = pid
            self._poll.register(connection, select.POLLIN)

    def _wait_for(self, connection: int) -> None:
        """The other side has taken in the end, or is gone. Until then the process was a zombie, as every child of a test is."""
        os.waitpid(self._told.pop(connection), 0)
        self._poll.unregister(connection)
        os.close(connection)

    def _tell(self, pid: int, number: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it
            os.write(self._connections[pid], NUMBER.pack(number))


def receive_descriptors(connection: int, size: int) -> tuple[bytes, list[int]]:
    """At most `size` bytes and the descriptors that came with them; empty at the end."""
    with socket.socket(fileno=os.dup(connection)) as receiving:
        data, descriptors, _, _ = socket.recv_fds(receiving, size, 3)
    return data, descriptors


def read_exactly(connection: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(connection, size - len(data))
    return data


def become(module: str, words: list[str], cwd: str, environment: dict[str, str], *, own_session: bool) -> None:
    """What a new process has from its parent."""
    if own_session:
        os.setsid()
    os.chdir(cwd)
    sys.path[0] = os.getcwd()
    sys.orig_argv = [sys.executable, "-m", module, *words]
    sys.argv = ["-m", *words]
    ctypes.CDLL(None).clearenv()  # also what libraries have set behind Python's back
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    show_in_proc(sys.orig_argv, environment)
    sys.modules["__main__"] = ModuleType("__main__")


def run_to_the_end(module: str) -> None:
    """Run it as `python -m` does, but have Python's end leave alone what was loaded: that costs more than most commands do."""
    code = 0

    def leave() -> None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError):
            return  # Python says what it makes of it
        os._exit(code)

    atexit.register(leave)  # the first is called last: behind every exit handler of the program
    try:
        runpy._run_module_as_main(module)  # type: ignore[attr-defined]
    except SystemExit as end:
        code = 0 if end.code is None else end.code & 0xFF if isinstance(end.code, int) else 1
        raise
    except KeyboardInterrupt:
        atexit.unregister(leave)  # Python ends by the signal
        raise
    except BaseException:
        code = 1
        raise


def make_decoders() -> None:
    """Have what decodes our structs made here, once: else each fork would make what it needs."""
    for module in list(sys.modules.values()):
        for value in list(vars(module).values()):
            if getattr(value, "__qualname__", "") in ("json_decoder.<locals>.decode", "message_decoder.<locals>.decode"):
                with contextlib.suppress(msgspec.DecodeError):
                    value(b"")


def rehearse() -> None:
    """Do once what commands begin with and Python remembers: keys of a jobs file, patterns, what reads a template, an agent."""
    for tables in (keys, agent_keys, profile_keys):
        for table in vars(tables).values():
            if isinstance(table, type) and issubclass(table, msgspec.Struct) and table is not msgspec.Struct:
                fields_of(table)
    load_text(REHEARSED, path="/rehearsed.toml", folder="/")
    forms_in({"A_TOKEN": "rehearsed"})
    with contextlib.suppress(UserError):  # The user's own may be wrong.
        Profiles().get("claude")


def main() -> None:
    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LOADED_LATE:
        importlib.import_module(name)
    make_decoders()
    rehearse()
    show_in_proc([sys.executable, *sys.argv[:2]])
    assert threading.active_count() == 1, "a thread would be missing in every fork"
    gc.collect()
    gc.freeze()  # a collection would copy every page of what is shared
    call = Server(int(sys.argv[1])).serve()
    become(**call)
    run_to_the_end(call["module"])
