"""What is recorded of an item when the core says what it is now."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from drivers.store_samples import started
from drivers.token_driver import job, outcome

from orchestrator.attempts.flight import Flight
from orchestrator.core.decisions import Settle
from orchestrator.core.states import ItemRef, Waiting
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store.records import AttemptEnded, ItemSettled, Record
from orchestrator.supervisor.charges import Charges
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.settlements import Joined, Settlements
from orchestrator.views.happenings import Happening
from orchestrator.views.listeners import Listeners

ITEM: ItemRef = (0, 0)
WAITS = Waiting("token", math.inf)


class Heard:
    """All that is recorded, and all that is told."""

    shows_time = False

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.told: list[Happening] = []

    def add(self, record: Record) -> None:
        self.records.append(record)

    def hear(self, happening: Happening) -> None:
        self.told.append(happening)

    def refresh(self, now: float) -> None:
        pass

    def close(self) -> None:
        pass


def settlements_for(listener: Heard, tmp_path: Path) -> Settlements:
    """Settlements of a run whose records, and all that is told of it, go to `listener`; its tokens are nobody's."""
    run = SimpleNamespace(
        recorder=listener,
        tell=Narrator(Listeners([listener]), tmp_path / "log"),
        name=lambda item: f"port:{item[1]}",
        job=lambda _: job(),
        history=SimpleNamespace(jobs={}),
    )
    tokens = SimpleNamespace(settle_item=lambda *_: None)
    return Settlements(cast(Run, run), cast(TokenDesk, tokens), Charges(cast(Run, run)))


def joined(words: str) -> Joined:
    return Joined(label=None, token="ship", payload="p", words=words)


def test_an_item_that_asks_again_and_again_is_recorded_once_for_each_reason_to_wait(tmp_path: Path) -> None:
    listener = Heard()
    settlements = settlements_for(listener, tmp_path)
    for words in ("a does its work", "a does its work", "b does its work", "b does its work"):
        settlements.joins(ITEM, joined(words))
        settlements.settle(Settle(ITEM, WAITS))
    said = [record.message for record in listener.records if isinstance(record, ItemSettled)]
    assert said == ["a does its work", "b does its work"]
    assert len(listener.told) == 2


def test_an_item_that_tried_the_work_itself_waits_for_nobody_else_any_more(tmp_path: Path) -> None:
    listener = Heard()
    settlements = settlements_for(listener, tmp_path)
    settlements.joins(ITEM, joined("a does its work"))
    settlements.settle(Settle(ITEM, WAITS))
    flight = Flight(item=ITEM, name="port:0", job=job(), start=started(0), slot=0, mark="m")
    settlements.ended(flight, outcome(), is_round=False)
    settlements.settle(Settle(ITEM, Waiting("backoff", 1.0)))
    assert isinstance(listener.records[-1], AttemptEnded)
    assert settlements.joined(ITEM) is None
    settlements.joins(ITEM, joined("a does its work"))
    settlements.settle(Settle(ITEM, WAITS))
    assert isinstance(listener.records[-1], ItemSettled)
