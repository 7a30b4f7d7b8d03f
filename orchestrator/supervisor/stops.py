"""Stops of one run: who asked first, how hard it is by now, and that its child runs hear of it, too.

Each further signal asks for a harder stop, whatever asked before. It refuses to handle: what a stop means for an item (core).
"""

from __future__ import annotations

import signal

from orchestrator.control.messages import Pause, Request, StopRequest
from orchestrator.core.events import StopAsked
from orchestrator.core.states import Stop
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.run import Run

_TOLD_TO_CHILDREN: dict[Stop, Request] = {Stop.PAUSE: Pause(), Stop.DRAIN: StopRequest()}
"""What child runs are told when their parent stops. At a harder stop the core has each of them ended (`EndAttempt`)."""


class Stops:
    """Of one run. `first_signal`: the first that asked for a stop; `orchestrate stop` counts as SIGTERM."""

    def __init__(self, run: Run, flights: Flights) -> None:
        self._run = run
        self._flights = flights
        self._told = run.core.stop
        self.first_signal: signal.Signals | None = None

    def signalled(self, number: signal.Signals) -> None:
        """A signal asks for one stop harder than the one that holds: drain, now, kill."""
        self.asked_by(number)
        harder = min(max(self._run.core.stop.value + 1, Stop.DRAIN.value), Stop.KILL.value)
        self.ask(Stop(harder), "once more ends them now")

    def asked_by(self, number: signal.Signals) -> None:
        """The exit code tells of the first of them."""
        self.first_signal = self.first_signal or number

    def ask(self, how: Stop, hurry: str = "stop --now ends them") -> None:
        """Have the run stopped. `hurry`: what would end at once what still runs, in words."""
        self._run.happened(StopAsked(how))
        if how in (Stop.PAUSE, Stop.DRAIN) and self._flights:
            what = "pausing" if how is Stop.PAUSE else "stopping"
            more = "" if how is Stop.PAUSE else f" ({hurry})"
            self._run.tell.note(f"{what}: nothing more starts, what runs ({len(self._flights)}) may finish{more}")

    def tell_children(self) -> None:
        """Child runs pause or drain with their parent, from the moment at which the core has made the stop hold."""
        stop = self._run.core.stop
        if stop is not self._told:
            self._told = stop
            if stop in _TOLD_TO_CHILDREN:
                self._flights.tell_children(_TOLD_TO_CHILDREN[stop])
