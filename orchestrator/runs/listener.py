"""How a program that runs jobs files by the library hears what happens: each happening is given to a function of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from orchestrator.system.stop_signals import Stopper
from orchestrator.views import happenings

OnEvent = Callable[[happenings.Happening], object]


class CallbackListener:
    """Calls `on_event`. What that raises drains the run, is its last call, and is raised when the context is left.

    `stopper` is what the run is to heed: it hears also what the given one hears.
    """

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
        """Pass it on."""
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
