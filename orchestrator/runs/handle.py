"""`orchestrator.Run`: a run that a program steers and looks at, whoever supervises it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from orchestrator.control.client import NoSupervisor, ask
from orchestrator.control.messages import CancelRequest, Reply, RetryRequest
from orchestrator.errors import UserError
from orchestrator.reading.item_names import find_items
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_result import RunResult
from orchestrator.runs import commands as runs
from orchestrator.runs.api import AnyPath, find, read_run
from orchestrator.runs.left_children import left_children
from orchestrator.runs.retry import ask_for_retry, check_change, check_selected, failed_or_cancelled
from orchestrator.store.settings_records import RunOptions
from orchestrator.views.happenings import Happening
from orchestrator.views.listeners import Listeners

if TYPE_CHECKING:
    from orchestrator.attempts.workspaces.landing import Landed

_LOOK_SECONDS = 0.2


class Run:
    """`run` as of `resume`. Raises UserError if there is no such run.

    All methods that change something raise UserError if it is declined, and RunHeldError if a supervisor has just begun.
    """

    def __init__(self, run: str | RunResult | None = None, *, home: AnyPath | None = None) -> None:
        self._run_dir = find(run, home)

    @property
    def run_id(self) -> str:
        """Its id."""
        return self._run_dir.run_id

    def read(self) -> RunResult:
        """How it stands now: as `read_run`."""
        return read_run(self.run_id, home=self._run_dir.home)

    @property
    def cost(self) -> float | None:
        """What its agents have cost so far, in dollars; None: none told."""
        return self.read().cost_usd

    def cancel(self, *items: str) -> None:
        """End the items that run or wait, for good; without a name the whole run. A run that nobody supervises, too."""
        reader, chosen = self._reader(), self._items(items) if items else None
        try:
            _check(ask(self._run_dir.path, CancelRequest.of(chosen)))
        except NoSupervisor:
            runs.cancel_dead_run(self._run_dir, chosen, Listeners([]))
        # After the parent: its item no longer starts them anew.
        for child in left_children(reader, chosen):
            runs.cancel_dead_run(child, None, Listeners([]))

    def retry(
        self, *items: str, feedback: str = "", model: str | None = None, prompt: str | None = None, slots: int | None = None
    ) -> RunResult:
        """Run items one more time, whatever they came to; without a name all that failed or were cancelled.

        A run that goes on runs them beside its others, and this tells how it stands. Any other run is gone on with to its end.
        """
        reader = self._reader()
        chosen = self._items(items) if items else failed_or_cancelled(reader.history)
        if not chosen:
            raise UserError(f"run {self.run_id} has no item that failed or was cancelled", "name one")
        check_selected(reader, chosen if items else ())
        check_change(reader, chosen, feedback.strip() or None, model, prompt)
        asked = RetryRequest.of(chosen, feedback.strip(), model, prompt)
        reply = ask_for_retry(self._run_dir, asked)
        if reply is not None:
            _check(reply)
        else:
            runs.retry_items(self._run_dir, asked, RunOptions(slots=slots), Listeners([]), asker=None)
        return self.read()

    def approve(self, gate: str, *, choice: str | None = None, message: str = "") -> None:
        """Answer a gate (default: the choice that approves). A run that has paused acts on it when it is resumed."""
        from orchestrator.runs.approvals import answer

        answered = answer(self._reader(), gate, choice, message)
        if isinstance(answered, Reply):
            _check(answered)

    def land(self, *items: str, check: str | None = None, no_check: bool = False, keep_branches: bool = False) -> list[Landed]:
        """Merge what items did in workspaces of their own into what is checked out; without a name all that changed something.

        What came of each, in order; what did not land is told there. Raises UserError: nothing can be landed there, or an item
        that is named has nothing to land. The checks run what agents wrote, as the user of this process.
        """
        from orchestrator.runs.landing import HowToLand, items_to_land, land_items

        if check is not None and no_check:
            raise ValueError("check and no_check: either a check or none")
        reader = self._reader()
        chosen = items_to_land(reader, self._items(items) if items else None, _refuse)
        return land_items(reader, chosen, HowToLand(check, no_check, keep_branches), _not_told, _not_told).items

    async def events(self) -> AsyncIterator[Happening]:
        """What happens to it from now on, until nobody supervises it; first how it stands, last `RunFinished`.

        It is told from its records: what is not recorded (a wait for a pool, notes) is not told, and of many items that ended
        between two looks only their number.
        """
        import asyncio

        from orchestrator.reading.follower import RunFollower
        from orchestrator.reading.retelling import Retelling
        from orchestrator.supervisor.options import slots_as_seen

        heard: list[Happening] = []
        follower = RunFollower(self._run_dir)
        retelling = Retelling(follower, heard.append)
        retelling.begin(slots_as_seen(follower.reader))
        goes_on = True
        while goes_on:
            goes_on = retelling.look()
            if not goes_on:
                retelling.finish()
            told = [*heard]
            heard.clear()
            for each in told:
                yield each
            if goes_on:
                await asyncio.sleep(_LOOK_SECONDS)

    def _reader(self) -> RunReader:
        return RunReader.read(self._run_dir)

    def _items(self, references: tuple[str, ...]) -> list[tuple[str, int]]:
        reader = self._reader()
        items = list({found: None for each in references for found in find_items(reader, each)})
        # What was asked of them must not be promised and then forgotten.
        if not items:
            words = ", ".join(references)
            raise UserError(f"{words} of run {self.run_id} has no items", "a fan-out has none until what it needs has ended")
        return items


def _check(reply: Reply) -> None:
    """Raise UserError for what a supervisor declined."""
    if not reply.ok:
        raise UserError(reply.message)


def _refuse(words: str) -> None:
    raise UserError(words)


def _not_told(_what: object) -> None:
    """A program has it from what is returned."""
