"""A terminal that stands still (Ctrl-S, a connection that stalls) is not waited for, and shows all that was said afterwards."""

from __future__ import annotations

import contextlib
import os
import select
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest
from drivers.views_story import began, ended, finished, listed, started

from orchestrator.views import outlet as outlets
from orchestrator.views.happenings import PromptClosed, PromptOpened
from orchestrator.views.outlet import Outlet, TerminalOutlet, outlet_to
from orchestrator.views.plain_lines import EachLine
from orchestrator.views.terminal import LiveView

LIMIT_SECONDS = 60.0
"""For a wait that only a hang makes long."""

END = "(all that was written before this is shown)"


class Terminal:
    """A terminal of the test's own."""

    def __init__(self) -> None:
        self._screen, self._device = os.openpty()
        os.set_blocking(self._screen, False)
        self.stream: TextIO = os.fdopen(self._device, "w", closefd=False)
        self.outlet = outlet_to(self.stream)

    def stop(self) -> None:
        termios.tcflow(self._device, termios.TCOOFF)

    def go_on(self) -> None:
        termios.tcflow(self._device, termios.TCOON)

    def screen(self) -> str:
        """What it has shown since this was asked last."""
        shown = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                shown += os.read(self._screen, 1 << 16)
        return shown.decode().replace("\r\n", "\n")

    def screen_at_end(self) -> str:
        """All that it shows once it goes on."""
        self.go_on()
        shown = ""
        wait = select.poll()
        wait.register(self._screen, select.POLLIN)
        is_marked = False
        while END not in shown:
            if not is_marked and not self.outlet.is_behind:
                self.outlet.line(END)
                is_marked = True
            self.outlet.flush()
            assert wait.poll(LIMIT_SECONDS * 1000)
            shown += self.screen()
        return shown.partition(END)[0]

    def close(self) -> None:
        assert isinstance(self.outlet, TerminalOutlet)
        os.close(self.outlet._fd)
        self.stream.close()
        os.close(self._device)
        os.close(self._screen)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    made = Terminal()
    yield made
    made.close()


def test_lines_that_were_said_meanwhile_are_shown_in_order_when_it_goes_on(terminal: Terminal) -> None:
    view = EachLine(terminal.outlet, "orchestrate")
    terminal.stop()
    for index in range(3000):  # some 60 kB, several times what a terminal holds
        view.hear(ended(index))
    assert terminal.screen() == ""
    view.refresh(0.0)
    screen = terminal.screen_at_end()
    assert [line for line in screen.splitlines() if line] == [f"ok  port:{index} 2.1s" for index in range(3000)]


def test_pictures_are_left_out_and_failures_are_kept(terminal: Terminal) -> None:
    view = LiveView(terminal.outlet, "orchestrate", force=True)
    view.hear(began())
    view.hear(listed(300))
    view.refresh(0.0)
    assert "0/300" in terminal.screen_at_end()
    terminal.stop()
    view.refresh(1.0)
    behind = terminal.outlet.is_behind
    for index in range(300):
        view.hear(started(index))
        view.hear(ended(index, "failed", message="exit code 1"))
        view.refresh(2.0 + index)
    assert (behind, terminal.screen()) == (True, "")
    terminal.screen_at_end()
    view.refresh(400.0)
    screen = terminal.screen_at_end()
    assert [line for line in screen.splitlines() if "FAILED" in line][-1].endswith("FAILED port:299 exit code 1\x1b[0m")
    assert screen.count("FAILED") == 300
    assert screen.count("300/300") in range(1, 10), "the last picture, not three hundred"


def test_what_does_not_fit_is_counted(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "MOST_UNWRITTEN_BYTES", 10_000)
    view = EachLine(terminal.outlet, "orchestrate")
    terminal.stop()
    for index in range(3000):
        view.hear(ended(index))
    lines = [line for line in terminal.screen_at_end().splitlines() if line]
    shown = len(lines) - 1
    assert lines[-1] == f"note: {3000 - shown} lines are not shown: the terminal stood still"
    assert lines[:-1] == [f"ok  port:{index} 2.1s" for index in range(shown)]


def test_a_terminal_that_hangs_up_while_it_stands_still_is_the_end_of_nothing(terminal: Terminal) -> None:
    view = LiveView(terminal.outlet, "orchestrate", force=True)
    view.hear(began())
    terminal.stop()
    view.refresh(1.0)
    os.close(terminal._screen)
    terminal._screen = os.open(os.devnull, os.O_RDONLY)
    view.hear(ended(0, "failed", message="exit code 1"))
    view.refresh(2.0)
    view.hear(finished("failed", failed=1))
    view.close()
    assert not terminal.outlet.is_open


def test_a_question_stands_behind_what_was_said_before_it_and_before_what_is_said_later(terminal: Terminal) -> None:
    view = LiveView(terminal.outlet, "orchestrate", force=True)
    view.hear(began())
    terminal.stop()
    view.hear(PromptOpened())
    terminal.outlet.line("gate: go on?")
    view.hear(ended(0, "failed", message="exit code 1"))
    asked = terminal.screen_at_end()
    assert "gate: go on?" in asked
    assert "FAILED" not in asked
    view.hear(PromptClosed())
    view.close()
    assert "FAILED port:0" in terminal.screen_at_end()


def test_a_terminal_without_a_name_is_written_as_any_stream(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_fd: int) -> str:
        raise OSError("no such device")

    monkeypatch.setattr(os, "ttyname", fails)
    assert type(outlet_to(terminal.stream)) is Outlet
