"""Who waits for whom: what is a deadlock, what is none, which wait is given up, and the words for it."""

from __future__ import annotations

import pytest

from orchestrator.core.deadlocks import Posting, Wait, find_deadlocks, holders_in, item_of, still_waiting, waits_that_matter


def wait(item: str, resource: str, *holders: str, reserves: bool = False, since: float = 0.0, count: int = 1) -> Wait:
    return Wait(item=item, resource=resource, holders=holders, reserves=reserves, since=since, count=count)


def run(name: str, *waits: Wait, inside: str = "", seen: float = 10.0) -> Posting:
    """`inside`: the marks of its ancestors' attempts, outermost first, separated by spaces."""
    above = tuple(inside.split())
    return Posting(mark=f"{above[-1]}/{name}.n" if above else f"{name}.n", ancestors=above, seen=seen, waits=waits)


A, B, C = "r1.n/a/1", "r2.n/b/1", "r3.n/c/1"
"""Attempts of three items in three runs; each starts nested runs."""


def found(*postings: Posting) -> list[str]:
    """RUN/ITEM of the victims."""
    return sorted(f"{each.victim_run.split('/')[-1][:-2]}/{each.victim.item}" for each in find_deadlocks(postings))


DEADLOCKS = {
    "its ancestor holds the token": (["n/x"], [run("n", wait("x", "token t", item_of(A)), inside=A)]),
    "two wait for each other": (
        ["m/y"],
        [
            run("n", wait("x", "token b", item_of(B), since=1), inside=A),
            run("m", wait("y", "token a", item_of(A), since=2), inside=B),
        ],
    ),
    "three in a ring, of which the last to come is given up": (
        ["m/y"],
        [
            run("n", wait("x", "token b", item_of(B), since=1), inside=A),
            run("m", wait("y", "token c", item_of(C), since=3), inside=B),
            run("o", wait("z", "token a", item_of(A), since=2), inside=C),
        ],
    ),
    "a pool whose every slot is stuck": (
        ["m/y"],
        [
            run("n", wait("x", "pool p", A, B, since=1), inside=A),
            run("m", wait("y", "token a", item_of(A), since=2), inside=B),
        ],
    ),
    "a retry keeps its token and waits for the slot of the one that waits for it": (
        ["n/x"],
        [run("r1", wait("w", "a slot of r1", A, reserves=True, since=5)), run("n", wait("x", "token w", "r1.n/w"), inside=A)],
    ),
    "any depth, though the run between says nothing": (
        ["n/x"],
        [run("n", wait("x", "token a", item_of(A)), inside=f"{A} {A}/k.n/i/1")],
    ),
    "one nested run of two is enough": (
        ["n/x"],
        [run("n", wait("x", "token a", item_of(A)), inside=A), run("o", wait("z", "pool q", "r9.n/free/1"), inside=A)],
    ),
    "two deadlocks that have nothing to do with each other": (
        ["m/y", "n/x"],
        [run("n", wait("x", "token a", item_of(A)), inside=A), run("m", wait("y", "token b", item_of(B)), inside=B)],
    ),
    "two deadlocks that were seen at different times": (
        ["m/y", "n/x"],
        [
            run("n", wait("x", "token a", item_of(A)), inside=A, seen=8),
            run("m", wait("y", "token b", item_of(B), since=9), inside=B),
        ],
    ),
    "who is only stuck behind it is no victim, though it came last": (
        ["n/x"],
        [
            run("n", wait("x", "token a", item_of(A), since=1), inside=A),
            run("m", wait("y", "token a", item_of(A), since=9), inside=B),
            run("o", wait("z", "token b", item_of(B), since=9), inside=C),
        ],
    ),
    "who would take joiners along is spared": (
        ["n/x"],
        [
            run("r1", wait("w", "a slot of r1", A, reserves=True, since=9)),
            run("n", wait("x", "token w", "r1.n/w", since=1), inside=A),
        ],
    ),
    "who is one of many is spared": (
        ["m/y"],
        [
            run("n", wait("x", "pool p", B, since=9, count=5), inside=A),
            run("m", wait("y", "token a", item_of(A), since=1), inside=B),
        ],
    ),
}


@pytest.mark.parametrize("name", DEADLOCKS)
def test_a_deadlock_has_one_victim(name: str) -> None:
    victims, postings = DEADLOCKS[name]
    assert found(*postings) == victims
    assert found(*reversed(postings)) == victims


NO_DEADLOCKS = {
    "nobody waits": [],
    "the holder just runs": [run("n", wait("x", "token b", item_of(B)), inside=A)],
    "the holder waits for a time": [
        run("n", wait("x", "token w", "r1.n/w"), inside=A),
        run("r1", wait("other", "a slot of r1", A, reserves=True)),
    ],
    "one slot of the pool is held by one who goes on": [run("n", wait("x", "pool p", A, B), inside=A)],
    "one holder is not known": [run("n", wait("x", "pool p", A, ""), inside=A)],
    "nobody is known to hold it": [run("n", wait("x", "pool p"), inside=A)],
    "another attempt of the item it is in": [run("n", wait("x", "pool p", "r1.n/a/2"), inside=A)],
    "waits that never were at one time": [
        run("n", wait("x", "token b", item_of(B)), inside=A, seen=4),
        run("m", wait("y", "token a", item_of(A), since=5), inside=B),
    ],
    "a run that waits for one that waits for nobody": [
        run("n", wait("x", "token b", item_of(B)), inside=A),
        run("m", wait("y", "token c", item_of(C)), inside=B),
    ],
}


@pytest.mark.parametrize("name", NO_DEADLOCKS)
def test_what_may_go_on_is_no_deadlock(name: str) -> None:
    assert find_deadlocks(NO_DEADLOCKS[name]) == []


def test_the_cycle_is_told_in_words() -> None:
    (deadlock,) = find_deadlocks(
        [
            run("n", wait("x:0", "token beta", item_of(B), since=1), inside=A),
            run("r2", wait("b", "a slot of run r2", "r2.n/d/1", reserves=True, since=1)),
            run("m", wait("y", "token " + "a" * 300, item_of(A), since=2), inside="r2.n/d/1"),
        ]
    )
    assert deadlock.words == (
        f"m/y waits for token {'a' * 74}…, held by r1/a, which waits, through n/x:0, for token beta, held by r2/b, "
        "which waits for a slot of run r2, held by r2/d, which cannot end before m/y"
    )
    assert deadlock.runs == {f"{A}/n.n", "r2.n", "r2.n/d/1/m.n"}


def test_a_free_unit_of_a_pool_makes_its_holders_unknown() -> None:
    assert holders_in([f"r1/a {A}", f"r2/b:0 {B}"]) == (A, B)
    for notes in ([f"r1/a {A}", None], [f"r1/a {A}", ""]):
        assert find_deadlocks([run("n", wait("x", "pool p", *holders_in(notes)), inside=A)]) == []
    assert found(run("n", wait("x", "pool p", *holders_in([f"r1/a {A}"])), inside=A)) == ["n/x"]


def test_a_wait_is_as_old_as_its_holders_are_the_same() -> None:
    before = [wait("x", "pool p", A, B, since=1), wait("w", "a slot", A, reserves=True, since=1)]
    now = [
        wait("y", "pool p", B, A),  # of those that hold nothing any one will do
        wait("v", "a slot", A, reserves=True),
        wait("x", "token t", C),
    ]
    assert [each.since for each in still_waiting(before, now, 7)] == [1, 7, 7]
    assert [each.since for each in still_waiting(before, [wait("x", "pool p", A, C)], 7)] == [7]


def test_only_waits_with_somebody_behind_them_matter() -> None:
    waits = [
        wait("a", "pool p", A),
        wait("b", "pool p", A),
        wait("c", "pool p", A, reserves=True),
        wait("d", "pool p", A, reserves=True),
        wait("e", "pool q", ""),
    ]
    named = wait("d", "pool p", A, reserves=True)
    assert waits_that_matter(waits, "r1.n", is_nested=False, named={"r1.n/d", "r2.n/c"}) == [named]
    assert waits_that_matter(waits, "r1.n", is_nested=True, named={"r1.n/d"}) == [wait("a", "pool p", A, count=3), named]
    assert waits_that_matter(waits, "r1.n", is_nested=False, named=()) == []
