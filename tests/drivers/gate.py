"""A job that tells when it runs and goes on when the test says so: no test has to sleep to meet it."""

from __future__ import annotations

import os
import select
import shlex
from pathlib import Path

PATIENCE_SECONDS = 60.0


class Gate:
    """Two FIFOs. `script` says `up` and then waits for `open`; one item at a time may wait at a gate."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self._up = folder / f"{name}.up"
        self._go = folder / f"{name}.go"
        os.mkfifo(self._up)
        os.mkfifo(self._go)
        # Read and write: so neither side's opening waits for the other, and the test can say `open` first.
        self._up_fd = os.open(self._up, os.O_RDWR | os.O_NONBLOCK)
        self._go_fd = os.open(self._go, os.O_RDWR | os.O_NONBLOCK)

    @property
    def script(self) -> str:
        """Shell: to stand in a job."""
        return f"echo up > {shlex.quote(str(self._up))}; read word < {shlex.quote(str(self._go))}"

    def wait_until_reached(self) -> None:
        """Until an item stands at the gate. Fails when none does in time."""
        ready, _, _ = select.select([self._up_fd], [], [], PATIENCE_SECONDS)
        assert ready, "no item came to the gate"
        assert os.read(self._up_fd, 3) == b"up\n"

    def open(self) -> None:
        """Let one item through."""
        os.write(self._go_fd, b"go\n")

    def close(self) -> None:
        """Let the descriptors go."""
        os.close(self._up_fd)
        os.close(self._go_fd)
