"""What an item does about its token: the table of the design's section 5, row by row, and what holds for every row."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.tokens import (
    PROMOTIONS_ALLOWED,
    Asker,
    Done,
    Fact,
    InFlight,
    Join,
    Lost,
    Reject,
    Replace,
    Run,
    RunUnregistered,
    Share,
    judge,
)

FLIES = InFlight("p", "r1/port:3")
GOOD = Done("p", "r1/port:3", is_success=True, age=60.0)
BAD = Done("p", "r1/port:3", is_success=False, age=60.0)


def asker(**keys: Any) -> Asker:
    return Asker(**{"token": "ship", "payload": "p", **keys})


def changed(done: Done, **keys: Any) -> Done:
    told = {"payload": done.payload, "holder": done.holder, "is_success": done.is_success, "age": done.age}
    return Done(**{**told, **keys})


@pytest.mark.parametrize(
    ("fact", "keys", "expected"),
    [
        # Nobody ever had it.
        (None, {}, Run()),
        # In flight.
        (FLIES, {}, Join()),
        (FLIES, {"if_running": "replace"}, Replace()),
        (FLIES, {"if_running": "run_anyway"}, RunUnregistered()),
        (FLIES, {"is_fresh": True}, Join()),
        # In flight with another payload: never a start, but `replace` is allowed.
        (FLIES, {"payload": "other", "if_running": "replace"}, Replace()),
        # Done well: within token_ttl, which is the asker's.
        (GOOD, {"ttl": 61.0}, Share()),
        (GOOD, {"ttl": 60.0}, Run()),
        (GOOD, {}, Run()),
        (GOOD, {"ttl": 61.0, "is_fresh": True}, Run()),
        (GOOD, {"ttl": 61.0, "if_done": "rerun"}, Run()),
        (GOOD, {"ttl": 59.0, "if_done": "reject"}, Run()),
        # Within one run always.
        (changed(GOOD, is_this_run=True), {}, Share()),
        (changed(GOOD, is_this_run=True), {"is_fresh": True}, Share()),
        (changed(GOOD, is_this_run=True), {"if_done": "rerun"}, Share()),
        (changed(GOOD, is_this_run=True), {"if_done": "reject"}, Share()),
        (changed(GOOD, is_this_run=True), {"if_done": "reject", "is_fresh": True, "ttl": 61.0}, Share()),
        # But who runs again is not answered by what he himself came to.
        (changed(GOOD, is_this_run=True, is_own=True), {"ttl": 61.0}, Run()),
        (changed(GOOD, is_this_run=True, is_own=True), {"ttl": 61.0, "if_done": "reject"}, Run()),
        (changed(GOOD, is_this_run=True, is_own=True), {"payload": "other", "if_changed": "reject"}, Run()),
        # Done well with another payload: an edited prompt simply runs again.
        (GOOD, {"payload": "other", "ttl": 61.0}, Run()),
        (changed(GOOD, is_this_run=True), {"payload": "other"}, Run()),
        # Failed or aborted before.
        (BAD, {"ttl": 61.0}, Run()),
        (BAD, {"ttl": 61.0, "if_done": "reject"}, Run()),
        (changed(BAD, is_this_run=True), {}, Run()),
        (Lost(), {}, Run()),
        (Lost(PROMOTIONS_ALLOWED), {}, Run()),
        # Who waited shares any verdict, success or not, whatever the ttl.
        (changed(GOOD, is_news=True), {}, Share()),
        (changed(BAD, is_news=True), {}, Share()),
        (changed(BAD, is_news=True), {"is_fresh": True, "if_done": "rerun"}, Share()),
        # Who waited in vain takes over, and is counted.
        (Lost(0, was_awaited=True), {}, Run(1)),
        (Lost(2, was_awaited=True), {}, Run(3)),
    ],
)
def test_the_table(fact: Fact, keys: dict[str, Any], expected: object) -> None:
    assert judge(fact, asker(**keys)) == expected


@pytest.mark.parametrize(
    ("fact", "keys", "words"),
    [
        (FLIES, {"if_running": "reject"}, ["in flight", "r1/port:3"]),
        (GOOD, {"ttl": 61.0, "if_done": "reject"}, ["done already", "r1/port:3"]),
        (GOOD, {"payload": "other", "if_changed": "reject"}, ["'ship'", "r1/port:3", "has p", "has other"]),
        (changed(GOOD, is_news=True), {"payload": "other"}, ["r1/port:3", "has p", "has other"]),
        (changed(BAD, is_news=True), {"payload": "other"}, ["r1/port:3", "has p", "has other"]),
    ],
)
def test_a_refusal_names_the_other_side(fact: Fact, keys: dict[str, Any], words: list[str]) -> None:
    judgement = judge(fact, asker(**keys))
    assert isinstance(judgement, Reject)
    assert not judgement.is_final
    assert [word for word in words if word not in judgement.message] == []


@pytest.mark.parametrize("if_running", ["join", "reject", "run_anyway"])
def test_work_in_flight_with_another_payload_is_never_started_nor_shared(if_running: str) -> None:
    judgement = judge(FLIES, asker(payload="other", if_running=if_running))
    assert isinstance(judgement, Reject)
    assert "has p" in judgement.message
    assert "has other" in judgement.message


def test_the_fourth_loss_in_a_row_is_everybodys_failure() -> None:
    judgement = judge(Lost(PROMOTIONS_ALLOWED, was_awaited=True), asker())
    assert judgement == Reject("the work of token 'ship' was lost 4 times in a row", is_final=True)


FACTS: list[Fact] = [
    None,
    *(InFlight(payload, "r1/x") for payload in "pq"),
    *(Lost(count, was_awaited=waited) for count in range(5) for waited in (False, True)),
    *(
        Done(payload, "r1/x", is_success=success, age=age, is_this_run=here, is_news=news)
        for payload, success, age, here, news in itertools.product("pq", (False, True), (0.0, 10.0), (False, True), (False, True))
    ),
]
ASKERS = st.builds(
    Asker,
    token=st.just("ship"),
    payload=st.just("p"),
    if_running=st.sampled_from(["join", "reject", "replace", "run_anyway"]),
    if_done=st.sampled_from(["replay", "rerun", "reject"]),
    if_changed=st.sampled_from(["rerun", "reject"]),
    ttl=st.sampled_from([0.0, 5.0, 20.0]),
    is_fresh=st.booleans(),
)


@given(
    fact=st.sampled_from([fact for fact in FACTS if isinstance(fact, Done) and fact.is_this_run and fact.is_success]), who=ASKERS
)
def test_whether_an_item_asks_while_the_work_of_its_run_is_in_flight_or_later_makes_no_difference(fact: Done, who: Asker) -> None:
    early = judge(InFlight(fact.payload, fact.holder), who)
    if fact.payload == who.payload and isinstance(early, Join):
        assert isinstance(judge(fact, who), Share)


@given(fact=st.sampled_from(FACTS), who=ASKERS)
def test_no_wrong_outcome_is_shared_and_nothing_starts_beside_work_in_flight(fact: Fact, who: Asker) -> None:
    judgement = judge(fact, who)
    if isinstance(judgement, Share):
        assert isinstance(fact, Done)
        assert fact.payload == who.payload
        assert fact.is_success or fact.is_news
    if isinstance(judgement, Run):
        assert not isinstance(fact, InFlight)
        assert 0 <= judgement.promotions <= PROMOTIONS_ALLOWED
        if judgement.promotions:
            assert isinstance(fact, Lost)
            assert fact.was_awaited
    if isinstance(judgement, Join | Replace | RunUnregistered):
        assert isinstance(fact, InFlight)
    if isinstance(judgement, Reject) and judgement.is_final:
        assert isinstance(fact, Lost)
