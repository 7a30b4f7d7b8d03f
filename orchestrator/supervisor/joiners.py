"""Items that wait for the outcome of somebody else's attempt: they share it, fail, or try again."""

from __future__ import annotations

from typing import assert_never

from orchestrator.attempts.preparer import NotStarted
from orchestrator.core.events import CancelAsked, Declined, JoinEnded, VerdictShared
from orchestrator.core.states import ItemRef
from orchestrator.shared.tokens.answers import RefusedAll, ReplaceAsked, SharedWith, Told, TryAgain
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.settlements import Settlements


class Joiners:
    """The items of one run that wait for the outcome of somebody else's attempt."""

    def __init__(self, run: Run, settlements: Settlements) -> None:
        self._run = run
        self._settlements = settlements

    def take_in(self, told: Told) -> None:
        """Have the core hear what the items come to, with what is to be recorded of them."""
        match told:
            case SharedWith(items, outcome, is_success, deduped_from):
                # A stop of this very turn may have ended them: they keep that end, and joined nothing any more.
                waiting = tuple(item for item in items if self._settlements.joined(item) is not None)
                for item in waiting:
                    self._settlements.shares(item, outcome, deduped_from)
                self._run.happened(VerdictShared(waiting, is_success))
            case RefusedAll(items, message):
                self.refuse(items, message)
            case TryAgain(items):
                self._run.happened(JoinEnded(items))
            case ReplaceAsked(item, by):
                self._settlements.replaced(item, by)
                self._run.happened(CancelAsked((item,)))
            case unknown:
                assert_never(unknown)

    def refuse(self, items: tuple[ItemRef, ...], message: str) -> None:
        """Items that wait shall fail, with `message` as the reason."""
        for item in items:
            joined = self._settlements.joined(item)
            label, token, payload = (joined.label, joined.token, joined.payload) if joined else (None, None, "")
            self._settlements.declined(item, NotStarted(Declined.REFUSED, message, label, token, payload))
        self._run.happened(VerdictShared(items, is_success=False))
