"""Which items `--only` and `--limit` select: of jobs that are named, needed, or left out."""

from __future__ import annotations

from typing import Any
from weakref import ref

import pytest
from drivers.counted_calls import counted_calls

from orchestrator.attempts.items import patterns
from orchestrator.attempts.items.foreseen import LabelsBefore
from orchestrator.attempts.items.patterns import LATER, Later
from orchestrator.attempts.items.selection import LabelsUnknown, Selector, check_patterns, early_label
from orchestrator.errors import UserError
from orchestrator.jobsfile.language.quantities import read_digits
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.model import Job
from orchestrator.store.settings_records import Selection

VALUES = ["a", "b", "c", "d", "e", "ab"]
"""The items of every fan-out here."""


def jobs_of(text: str) -> tuple[Job, ...]:
    return load_text(text, path="/jobs.toml", folder="/").jobs


JOBS = jobs_of(
    """
[jobs.list]
shell = "true"
[jobs.port]
for_each = "{{ jobs.list.output }}"
shell = "true"
[jobs.review]
for_each = { job = "port" }
shell = "true"
[jobs.fix]
for_each = { job = ["review", "port"] }
label = "{{ parent.review.output }}"
shell = "true"
[jobs.sum]
needs = ["port"]
shell = "true"
[jobs.other]
for_each = ["a", "b", "c", "d", "e", "ab"]
shell = "true"
[jobs.clean]
when = "always"
needs = ["sum"]
shell = "true"
"""
)


def selected(jobs: tuple[Job, ...], *only: str, limit: int | None = None) -> dict[str, str]:
    """The chosen indices of each job, as digits; jobs that are left out are not there."""
    selector = Selector(Selection(only=only, limit=limit), jobs)

    def label(job_id: str, index: int) -> str | Later | None:
        return early_label(by_id[job_id], index, VALUES[index], {})

    by_id = {job.id: job for job in jobs}
    told = {}
    for job in jobs:
        count = 1 if job.for_each is None else len(VALUES)
        chosen = selector.select_items(job.id, count, label)
        if job.id not in selector.left_out:
            told[job.id] = "".join(map(str, range(count) if chosen is None else sorted(chosen)))
    return told


ALL = "012345"


@pytest.mark.parametrize(
    ("only", "limit", "expected"),
    [
        # Everything, or the first of everything.
        ((), None, {"list": "0", "port": ALL, "review": ALL, "fix": ALL, "sum": "0", "other": ALL, "clean": "0"}),
        ((), 2, {"list": "0", "port": "01", "review": "01", "fix": "01", "sum": "0", "other": "01", "clean": "0"}),
        ((), 99, {"list": "0", "port": ALL, "review": ALL, "fix": ALL, "sum": "0", "other": ALL, "clean": "0"}),
        # A job, and what it needs, whole; cleanup jobs only if they are named.
        (("port",), None, {"list": "0", "port": ALL}),
        (("sum",), None, {"list": "0", "port": ALL, "sum": "0"}),
        (("sum",), 1, {"list": "0", "port": ALL, "sum": "0"}),
        (("clean",), None, {"list": "0", "port": ALL, "sum": "0", "clean": "0"}),
        (("o*", "sum"), None, {"list": "0", "port": ALL, "sum": "0", "other": ALL}),
        # Items: by index, by label, by glob over either.
        (("port:3",), None, {"list": "0", "port": "3"}),
        (("port:ab",), None, {"list": "0", "port": "5"}),
        (("port:a*",), None, {"list": "0", "port": "05"}),
        (("port:[1-3]",), None, {"list": "0", "port": "123"}),
        (("port:a*", "port:2"), None, {"list": "0", "port": "025"}),
        (("port:zz",), None, {"list": "0", "port": ""}),
        (("*:b",), None, {"list": "", "port": "1", "review": "1", "fix": "1", "sum": "", "other": "1", "clean": ""}),
        (("port:[b-e]",), 2, {"list": "0", "port": "12"}),
        # A job that is named and needed has only what is named of it.
        (("port:3", "sum"), None, {"list": "0", "port": "3", "sum": "0"}),
        # Chains: what is followed runs for those that follow it, and no more.
        (("review:4",), None, {"list": "0", "port": "4", "review": "4"}),
        (("review",), 2, {"list": "0", "port": "01", "review": "01"}),
        (("review:a*",), 1, {"list": "0", "port": "0", "review": "0"}),
        (("review:4", "sum"), None, {"list": "0", "port": ALL, "review": "4", "sum": "0"}),
        (("port:[1-3]", "review"), 2, {"list": "0", "port": "12", "review": "12"}),
        # An item that is named runs with what it follows, whatever else is named; a job that is named follows what is selected.
        (("port:1", "review:3"), None, {"list": "0", "port": "13", "review": "3"}),
        (("port:1", "review:3", "fix"), None, {"list": "0", "port": "13", "review": "3", "fix": "3"}),
        (("port:1", "review", "fix:3"), None, {"list": "0", "port": "13", "review": "13", "fix": "3"}),
        (("port:[12]", "review:[de]"), 1, {"list": "0", "port": "13", "review": "3"}),
        (("port:1", "review:c", "fix:b"), None, {"list": "0", "port": "12", "review": "2", "fix": "2"}),
        (("port:1", "fix"), None, {"list": "0", "port": "1", "review": "1", "fix": "1"}),
        # A label that only the parent's output tells: what may match is taken, and looked at when it starts.
        (("fix:b",), None, {"list": "0", "port": ALL, "review": ALL, "fix": ALL}),
        (("fix:b",), 2, {"list": "0", "port": "01", "review": "01", "fix": "01"}),
        (("fix:2",), None, {"list": "0", "port": "2", "review": "2", "fix": "2"}),
    ],
)
def test_what_is_selected(only: tuple[str, ...], limit: int | None, expected: dict[str, str]) -> None:
    assert selected(JOBS, *only, limit=limit) == expected


def test_what_was_chosen_is_let_go_once_every_job_has_been_asked_for() -> None:
    jobs = jobs_of('[jobs.a]\nfor_each = ["x", "y"]\nshell = "true"\n[jobs.b]\nfor_each = { job = "a" }\nshell = "true"')
    selector = Selector(Selection(only=("*:x",)), jobs)
    chosen = selector.select_items("a", 2, lambda _, index: "xy"[index])
    assert chosen is not None
    kept = ref(chosen)
    del chosen
    assert kept() == {0}, "the next of the chain asks for it"
    assert selector.select_items("b", 2, lambda _, index: "xy"[index]) == {0}
    assert kept() is None


def test_a_label_that_is_known_late_decides_when_the_item_starts() -> None:
    selector = Selector(Selection(only=("fix:b*", "fix:3")), JOBS)
    assert [selector.admits("fix", 0, 6, label) for label in ("b", "bc", "a", None)] == [True, True, False, False]
    assert selector.admits("fix", 3, 6, "a"), "its index is enough"
    assert selector.admits("review", 0, 6, "a"), "it is needed, so nothing is asked of its label"


def test_a_join_runs_whole_what_it_follows_where_its_labels_are_not_known_in_time() -> None:
    jobs = jobs_of(
        """
[jobs.one]
for_each = ["a", "b", "c", "d", "e", "ab"]
shell = "true"
[jobs.two]
for_each = "{{ inputs.x }}"
shell = "true"
[jobs.both]
for_each = { job = ["two", "one"] }
shell = "true"
[inputs.x]
default = ["a"]
"""
    )
    by_id = {job.id: job for job in jobs}
    selector = Selector(Selection(only=("both:b",)), jobs)

    def label(job_id: str, index: int) -> str | Later | None:
        if job_id == "both":  # its items are those of `two`, which is not listed when `one` is
            raise LabelsUnknown(job_id)
        return early_label(by_id[job_id], index, VALUES[index], {})

    assert selector.select_items("one", 6, label) is None


def test_patterns_that_match_nothing_are_told() -> None:
    with pytest.raises(UserError) as told:
        check_patterns(["port", "prot:3"], [job.id for job in JOBS])
    assert told.value.message == "--only prot:3: no job is called so; did you mean port?"
    check_patterns(["p?rt:*", "*"], [job.id for job in JOBS])

    selector = Selector(Selection(only=("port:zz", "port:b", "other", "o*r:zz")), JOBS)

    def label(_: str, index: int) -> str:
        return VALUES[index]

    selector.select_items("port", 6, label)
    assert list(selector.idle_patterns()) == ["port:zz"], "of `other` nobody knows yet"
    selector.select_items("other", 6, label)
    assert list(selector.idle_patterns()) == ["port:zz", "o*r:zz"]


def test_a_pattern_is_not_idle_as_long_as_a_label_may_still_match_it() -> None:
    selector = Selector(Selection(only=("fix:one", "fix:two")), JOBS)
    selector.select_items("fix", 2, lambda _, __: LATER)
    assert not list(selector.idle_patterns())
    assert selector.admits("fix", 0, 2, "one")
    assert not list(selector.idle_patterns()), "the other item may be called two"
    assert not selector.admits("fix", 1, 2, "three")
    assert list(selector.idle_patterns()) == ["fix:two"]


def test_the_text_of_a_label_names_its_item_alone() -> None:
    labels = ["app/[id]/x", "app/i/x", "app/d/x"]

    def chosen(pattern: str) -> object:
        return Selector(Selection(only=(pattern,)), JOBS).select_items("port", 3, lambda _, index: labels[index])

    assert chosen("port:app/[id]/x") == {0}
    assert chosen("p*:app/[id]/x") == {0}
    assert chosen("port:app/[di]/x") == {1, 2}, "no label reads so: it is a pattern"


def test_a_limit_does_not_make_a_pattern_idle() -> None:
    selector = Selector(Selection(only=("port:a", "port:e"), limit=1), JOBS)
    assert selector.select_items("port", 6, lambda _, index: VALUES[index]) == {0}
    assert not list(selector.idle_patterns())


def test_labels_are_known_early_unless_they_tell_of_what_is_followed() -> None:
    jobs = {job.id: job for job in JOBS}
    assert early_label(jobs["port"], 0, "a", {}) == "a"
    assert early_label(jobs["port"], 0, {"k": 1}, {}) is None
    assert early_label(jobs["fix"], 0, "a", {}) is LATER
    wrong, of_index = jobs_of(
        """
[jobs.wrong]
for_each = [1]
label = "{{ item.name }}"
shell = "true"
[jobs.of_index]
for_each = [1]
label = "n{{ index }}"
shell = "true"
"""
    )
    assert early_label(wrong, 0, 1, {}) is None
    assert early_label(of_index, 7, 1, {}) == "n7"


def chained(parents: dict[str, list[str]]) -> tuple[Job, ...]:
    sources = {job: f"{{ job = {above} }}" if above else str(VALUES) for job, above in parents.items()}
    return jobs_of("".join(f'[jobs.{job}]\nfor_each = {source}\nshell = "true"\n' for job, source in sources.items()))


def test_many_and_long_ways_along_chains_are_walked_once() -> None:
    layers = [[f"j{layer}{letter}" for letter in "abcd"] for layer in range(14)]
    wide = chained({job: layers[number - 1] if number else [] for number, layer in enumerate(layers) for job in layer})
    long = chained({f"k{number}": [f"k{number - 1}"] if number else [] for number in range(400)})
    for jobs in (wide, long):
        first, middle, last = jobs[0].id, jobs[len(jobs) // 2].id, jobs[-1].id
        named = Selector(Selection(only=(f"{middle}:3", f"{last}:3")), jobs)
        bounded = Selector(Selection(only=(first, last), limit=2), jobs)
        for job_id in (first, middle, last):
            assert named.select_items(job_id, len(VALUES), lambda _job, index: VALUES[index]) == {3}
            assert bounded.select_items(job_id, len(VALUES), lambda _job, index: VALUES[index]) == {0, 1}


def calls_for_chain(number: int, *only: str) -> int:
    """How many calls it costs to say what is selected of each job of a chain of so many."""
    jobs = chained({f"k{each}": [f"k{each - 1}"] if each else [] for each in range(number)})
    selector, known = Selector(Selection(only=only), jobs), dict[str, Any]()
    labels = LabelsBefore(jobs, known)

    def select() -> None:
        for job in jobs:
            known[job.id] = VALUES
            if job.id not in selector.left_out:
                assert selector.select_items(job.id, len(VALUES), lambda *of: labels.label({}, *of)) == {1}

    return counted_calls(select)[1]


@pytest.mark.parametrize("only", ["k{last}:b", "k*:b", "k0:b", "k{last}:1"])
def test_a_chain_of_many_jobs_costs_as_much_a_job_as_one_of_few(only: str) -> None:
    few, many = (calls_for_chain(number, only.format(last=number - 1)) / number for number in (20, 100))
    assert many <= few * 1.1


def test_a_thousand_names_are_looked_up_and_not_compared_with_every_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 names among 2,000 items took five seconds, in which the run was deaf."""
    asked: list[int] = []

    def counted(text: str) -> int | None:
        asked.append(1)
        return read_digits(text)

    monkeypatch.setattr(patterns, "read_digits", counted)
    monkeypatch.setattr(patterns.fnmatch, "fnmatchcase", lambda name, pattern: (asked.append(1), name == pattern)[1])
    only = [f"other:{index}" for index in range(1000)] + [f"other:name {index}" for index in range(1000)]
    selector = Selector(Selection(only=tuple(only)), JOBS)
    chosen = selector.select_items("other", 5000, lambda _, index: f"name {index - 3000}")
    assert chosen == frozenset(range(1000)) | frozenset(range(3000, 4000))
    assert list(selector.idle_patterns()) == []
    assert len(asked) < 50_000
