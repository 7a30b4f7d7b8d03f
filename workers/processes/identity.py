"""Which process is which: a pid is worth nothing without its kernel start ticks and the boot they count from.

Start ticks are counted by the kernel since boot and never move, while psutil's `create_time` moves with the wall clock on
Linux. Where /proc is missing (macOS) the kernel stores each start as a time of day once and for all, so `create_time` in
microseconds serves as the ticks there.
"""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Literal

import msgspec

HAS_PROC = os.path.exists("/proc/self/stat")

_BOOT_ID_FILE = "/proc/sys/kernel/random/boot_id"
_TICK_NANOSECONDS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


@cache
def boot_id() -> str:
    """The kernel's identity of this boot. Raises OSError where the kernel tells none."""
    if HAS_PROC:
        # UTF-8 alone needs no module of its own.
        with open(_BOOT_ID_FILE, encoding="utf-8") as file:
            return file.read().strip()
    import subprocess

    told = subprocess.run(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, text=True, check=False)
    if told.returncode != 0 or not told.stdout.strip():
        raise OSError(f"sysctl kern.bootsessionuuid failed: {told.stderr.strip()}")
    return told.stdout.strip()


def start_ticks(pid: int) -> int | None:
    """When the process started, in kernel ticks since boot; None if there is no such process. A zombie still has it."""
    if not HAS_PROC:
        return _start_microseconds(pid)
    told = kernel_told(pid)
    return None if told is None else int(told.fields[19])


def process_state(pid: int, ticks: int, more: int = 0) -> str:
    """The state of the process that had this pid and start, in the kernel's letter (T: stopped, Z: a zombie); "": it is gone.

    `more`: as of `is_same_process`.
    """
    if not HAS_PROC:
        return _state_by_psutil(pid) if _start_microseconds(pid) == ticks else ""
    told = kernel_told(pid)
    return told.fields[0].decode() if told is not None and ticks <= int(told.fields[19]) <= ticks + more else ""


def is_stopped_process(state: str) -> bool:
    """Whether a process in this state was stopped by a signal (and not by a debugger)."""
    return state == "T"


def boot_clock() -> int:
    """Nanoseconds since boot by the clock that start ticks count; 0 where /proc is missing."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if HAS_PROC else 0


def start_ticks_of_child(pid: int, clock_before: int) -> tuple[int, int]:
    """The least `start_ticks` of a child that was just made, after `clock_before`, and not yet waited for; and how many more they
    may be.

    As exact as what the kernel tells: until it is waited for no other process has its pid. To read that of a process which is in
    its exec costs 40 µs, a tenth of the whole spawn, and where many processes wait for few processors most spawns last ticks.
    """
    if clock_before:
        ticks = clock_before // _TICK_NANOSECONDS
        return ticks, boot_clock() // _TICK_NANOSECONDS - ticks
    read = start_ticks(pid)
    assert read is not None, "a child that was not waited for has start ticks"
    return read, 0


def is_same_process(pid: int, ticks: int, boot: str, more: int = 0) -> bool:
    """Whether the process that had this pid, start (`ticks`, or up to so many `more`) and boot exists still (as a zombie too)."""
    if boot != boot_id():
        return False
    found = start_ticks(pid)
    return found is not None and ticks <= found <= ticks + more


class KernelTold(msgspec.Struct, frozen=True):
    """What /proc/PID/stat tells: the name of the command, and the fields behind it, the state first."""

    name: bytes
    fields: list[bytes]


def kernel_told(pid: int | Literal["self"]) -> KernelTold | None:
    """See `KernelTold`; None if there is no such process, or it is hidden. Only where there is a /proc."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.read(descriptor, 1024)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        # Hidden (hidepid): another user has that number by now.
        return None
    # The command name stands in parentheses and may hold any byte, ")" and spaces too: count from the last one.
    name, _, rest = line.partition(b"(")[2].rpartition(b")")
    return KernelTold(name, rest.split())


def _state_by_psutil(pid: int) -> str:
    import psutil

    letters = {psutil.STATUS_STOPPED: "T", psutil.STATUS_ZOMBIE: "Z"}
    try:
        return letters.get(psutil.Process(pid).status(), "S")
    except psutil.NoSuchProcess:
        return ""


def _start_microseconds(pid: int) -> int | None:
    import psutil

    try:
        return round(psutil.Process(pid).create_time() * 1_000_000)
    except psutil.NoSuchProcess:
        return None
