"""A fork that is no child of this process but one more child of its parent, and how a process looks in `/proc`.

Promise: the fork is to its parent what a process is that the parent itself has started: waited for, signalled and told of as
that; this process may die at any time. It refuses to work where the kernel or the C library is not known to bear it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

from .identity import kernel_told

_CLONE_PARENT = 0x8000
_CLONE = {"x86_64": 56, "aarch64": 220}
"""The number of the system call by machine. Only where its first argument is the flags."""
_PR_SET_MM = 35
_PR_SET_MM_MAP = 14


class _MemoryMap(ctypes.Structure):
    """`struct prctl_mm_map`: all or nothing is set."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in ("start_code", "end_code", "start_data", "end_data", "start_brk", "brk")),
        *((name, ctypes.c_uint64) for name in ("start_stack", "arg_start", "arg_end", "env_start", "env_end", "auxv")),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    ]


_UNCHANGED = 2**32 - 1
"""In place of a descriptor: the program stays what it is."""
_shown: list[object] = []
"""What the kernel reads for others: it must stay where it is."""


def can_fork_siblings() -> bool:
    """Whether `fork_sibling` may work here: Linux with glibc, on a machine whose system calls are known."""
    if sys.platform != "linux" or sys.maxsize < 2**32 or os.uname().machine not in _CLONE:
        return False
    try:
        # Other C libraries keep in memory which thread this is, and only their own fork puts that right.
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):
        return False


def fork_sibling() -> int:
    """As `os.fork`, and the new process is a child of this one's parent. This process must have one thread. Raises OSError."""
    # Its functions keep the interpreter's lock, as the fork of Python itself does.
    library = ctypes.PyDLL(None, use_errno=True)
    flags = _CLONE_PARENT | signal.SIGCHLD
    arguments = [ctypes.c_long(number) for number in (_CLONE[os.uname().machine], flags, 0, 0, 0, 0)]
    library.PyOS_BeforeFork()
    pid = int(library.syscall(*arguments))
    if pid == 0:
        library.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    library.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error))
    return pid


def show_in_proc(argv: Sequence[bytes], environment: Sequence[bytes]) -> None:
    """Have `/proc` tell these of this process: its arguments, and its environment as `NAME=VALUE`. Raises OSError."""
    told = kernel_told("self")
    if told is None:
        raise OSError("/proc tells nothing of this process")
    field = {number: int(value) for number, value in enumerate(told.fields[23:49], 26)}
    arguments, variables = (b"".join(word + b"\0" for word in words) for words in (argv, environment))
    buffer = ctypes.create_string_buffer(arguments + variables)
    begin = ctypes.addressof(buffer)
    library = ctypes.PyDLL(None, use_errno=True)
    library.sbrk.restype = ctypes.c_void_p
    wanted = _MemoryMap(
        start_code=field[26],
        end_code=field[27],
        start_stack=field[28],
        start_data=field[45],
        end_data=field[46],
        start_brk=field[47],
        arg_start=begin,
        arg_end=begin + len(arguments),
        env_start=begin + len(arguments),
        env_end=begin + len(arguments) + len(variables),
        exe_fd=_UNCHANGED,
    )
    call = [ctypes.c_ulong(_PR_SET_MM_MAP), ctypes.byref(wanted), ctypes.c_ulong(ctypes.sizeof(wanted)), ctypes.c_ulong(0)]
    # The last of all: whatever needs memory in between may move the end of the heap.
    wanted.brk = library.sbrk(0)
    if library.prctl(ctypes.c_int(_PR_SET_MM), *call) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    _shown[:] = [buffer]
