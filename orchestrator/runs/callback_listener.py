"""The listener of a program that runs jobs files by the library: each happening is given to a function of the program's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from orchestrator.system.stop_signals import Stopper
from orchestrator.views import happenings

OnEvent = Callable[[happenings.Happening], object]


class CallbackListener:
    """Calls `on_event`. An error that it raises drains the run, ends the calls, and is raised when the context is left.

    `stopper`: the one that the run heeds. It hears also what the given one hears.
    """

    shows_time = False

    def __init__(self, on_event: OnEvent | None, given: Stopper | None) -> None:
        self.stopper = Stopper()
        self._on_event = on_event
        self._given = given
        self._error: Exception | None = None
        self._open = ExitStack()

    def __enter__(self) -> CallbackListener:
        if self._given is not None:
            self._open.enter_context(self._given.heard_by(self.stopper.press))
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _where: object) -> None:
        self._open.close()
        if self._error is None:
            return
        if error is None:
            raise self._error
        error.add_note(f"on_event had raised {self._error!r} before")

    def hear(self, happening: happenings.Happening) -> None:
        """Give the happening to the program."""
        if self._on_event is None or self._error is not None:
            return
        try:
            self._on_event(happening)
        except Exception as error:
            self._error = error
            self.stopper.stop()

    def refresh(self, now: float) -> None:
        """The program has a clock of its own."""

    def close(self) -> None:
        """Nothing to restore."""
