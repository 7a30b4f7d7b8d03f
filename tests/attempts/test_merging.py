"""Lists that are evaluated again: an index keeps its meaning, whatever is added, goes, moves and comes back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.attempts.items.merging import MeaningChanged, Relisted, Work, follow_parent, merge_list, place_anew

VALUES = st.recursive(
    st.sampled_from([None, True, 1, 1.0, 0, False, "", "a", "b", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=3,
)


def as_json(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


@pytest.mark.parametrize(
    ("old", "gone", "new", "relisted"),
    [
        pytest.param("abc", (), "abc", ("", [], []), id="the same list"),
        pytest.param("abc", (), "cba", ("", [], []), id="another order"),
        pytest.param("abc", (), "adbec", ("de", [], []), id="in between"),
        pytest.param("abc", (), "ac", ("", [1], []), id="one is gone"),
        pytest.param("abc", (), "", ("", [0, 1, 2], []), id="all are gone"),
        pytest.param("", (), "ab", ("ab", [], []), id="there were none"),
        pytest.param("abc", (1,), "abc", ("", [], [1]), id="one comes back"),
        pytest.param("abc", (1,), "ac", ("", [], []), id="one stays gone"),
        pytest.param("aab", (), "ab", ("", [1], []), id="of two equal ones the second goes"),
        pytest.param("ab", (), "aaab", ("aa", [], []), id="equal ones are added"),
        pytest.param("aaa", (0, 2), "aa", ("", [], [0]), id="who is there stays before who is gone comes back"),
    ],
)
def test_a_list_is_merged(old: str, gone: tuple[int, ...], new: str, relisted: tuple[str, list[int], list[int]]) -> None:
    added, left, back = relisted
    assert merge_list(old, gone, new) == Relisted(list(added), left, back)


def test_values_are_equal_as_json_says_them() -> None:
    assert merge_list([{"a": 1, "b": 2}], (), [{"b": 2, "a": 1}]).is_same
    assert merge_list([1], (), [1.0, True, "1"]) == Relisted([1.0, True, "1"], [0], [])


@given(st.lists(st.lists(VALUES, max_size=6), max_size=6))
def test_however_often_a_list_changes_no_index_means_two_values(lists: list[list[Any]]) -> None:
    values: list[Any] = []
    gone: set[int] = set()
    for new in lists:
        before, was_gone = list(values), set(gone)
        relisted = merge_list(values, gone, new)
        values += relisted.added
        gone = (gone | set(relisted.gone)) - set(relisted.back)
        assert values[: len(before)] == before
        live = [value for index, value in enumerate(values) if index not in gone]
        assert Counter(map(as_json, live)) == Counter(map(as_json, new))
        assert not set(relisted.gone) & was_gone
        assert set(relisted.back) <= was_gone
        # What is in both lists keeps its index: as many stay as can.
        stay = [as_json(value) for index, value in enumerate(before) if index not in was_gone]
        kept = len(stay) - len(relisted.gone)
        assert kept == (Counter(stay) & Counter(map(as_json, new))).total()


def test_a_chain_grows_and_shrinks_with_its_parent() -> None:
    assert follow_parent("ab", {0}, "abc", {1}) == Relisted(["c"], [1], [0])
    assert follow_parent("ab", (), "ab", ()).is_same


@pytest.mark.parametrize(("parent", "index"), [("ba", 0), ("ax", 1), ("a", 1), ("", 0)])
def test_a_chain_that_would_follow_other_items_is_refused(parent: str, index: int) -> None:
    with pytest.raises(MeaningChanged) as refused:
        follow_parent("ab", (), parent, ())
    assert refused.value.index == index


@pytest.mark.parametrize(
    ("begun", "count", "new", "places"),
    [
        pytest.param({0: "a", 1: "b"}, 3, "abc", [0, 1, 2], id="the same list"),
        pytest.param({0: "a", 1: "b"}, 3, "cba", [2, 1, 0], id="another order"),
        pytest.param({0: "a", 1: "b"}, 3, "dabc", [2, 0, 1, 3], id="one more before"),
        pytest.param({0: "a", 1: "b"}, 2, "cd", [2, 3], id="no index means two values"),
        pytest.param({0: "a", 2: "a"}, 3, "aa", [0, 2], id="the same work twice"),
        pytest.param({}, 3, "ab", [0, 1], id="nothing had begun"),
    ],
)
def test_items_of_a_lost_list_are_known_by_what_they_do(begun: dict[int, str], count: int, new: str, places: list[int]) -> None:
    assert place_anew({index: Work(do, None) for index, do in begun.items()}, count, [Work(do, None) for do in new]) == places
    assert place_anew({index: Work(None, do) for index, do in begun.items()}, count, [Work(do, do) for do in new]) == places


def test_what_a_lost_item_did_counts_for_no_value_of_another_name() -> None:
    assert place_anew({0: Work("same", "x")}, 1, [Work("same", "y"), Work("same", "x")]) == [1, 0]
    assert place_anew({0: Work("same", "x")}, 1, [Work("same", "y")]) == [1]


def test_an_item_that_is_known_by_nothing_yet_keeps_its_place_and_is_compared_in_its_turn() -> None:
    assert place_anew({0: Work("did", None), 1: Work("did", "x")}, 2, [Work(None, None), Work(None, None)]) == [0, 2]
