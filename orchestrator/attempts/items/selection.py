"""Which items of a run `--only` and `--limit` select: a pure reading of the jobs, their counts and their labels.

A job is named by a pattern, or needed by a named job, or left out.
* Of a named job the items that match are selected; with `--limit` the first of these.
* Of a needed job all items are selected; where only chains need it, the items that selected items follow.
* An item of a chain that is named (`JOB:INDEX`, `JOB:LABEL`) is selected with the items that it follows, whatever else is named.
  Where its job alone is named, or its label is not known yet, it is selected only if the items that it follows are.
* An item whose label is the very text of a pattern is what the pattern names, and no other: `app/[id]/page.tsx` is a name.
Promise: the selection does not depend on what has run, so a resume selects the same items.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial, reduce
from typing import Any

import msgspec

from orchestrator.attempts.items.labels import item_label
from orchestrator.attempts.items.patterns import LATER, JobPatterns, Later, names_job
from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.errors import UserError
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.jobsfile.language.values import on_one_line
from orchestrator.jobsfile.model import Job, barriers_of, chain_of
from orchestrator.store.settings_records import Selection
from orchestrator.system.wording import how_many, shell_word

Chosen = frozenset[int] | None
"""Indices of a job's items; None: all."""


Labels = Callable[[str, int], str | Later | None]
"""The label of an item: (id of its job, index). Raises LabelsUnknown where the values of the job are not known yet."""


class LabelsUnknown(Exception):
    """The items of the job are not listed yet, nor those of the job that it follows."""


def check_patterns(only: Iterable[str], job_ids: Collection[str]) -> None:
    """Raise UserError for a pattern that matches no job."""
    for pattern in only:
        if not any(names_job(pattern, job_id) for job_id in job_ids):
            job_part = pattern.partition(":")[0]
            raise UserError(
                f"--only {shell_word(pattern)}: no job is called so{did_you_mean(job_part, job_ids)}",
                f"its jobs are: {', '.join(job_ids)}; a pattern is JOB, JOB:INDEX or JOB:LABEL, also with * and ?",
            )


_MOST_NAMES = 1000
"""Names of a job's items that are compared with a pattern which matches none of them."""

_MOST_SHOWN = 5


def names_of(job_id: str, count: int, labels: Labels) -> list[str]:
    """What the first items of a job are called: by their labels, else by their numbers."""
    names = []
    for index in range(min(count, _MOST_NAMES)):
        label = labels(job_id, index)
        names.append(label if isinstance(label, str) else str(index))
    return names


def matches_nothing(pattern: str, counts: Mapping[str, int], labels: Labels) -> UserError:
    """That no item of these jobs is called so, with the nearest name. `counts`: of the items, by job."""
    rest = pattern.partition(":")[2]
    names = {job_id: names_of(job_id, count, labels) for job_id, count in counts.items()}
    near = did_you_mean(rest, {name for each in names.values() for name in each})
    if near and len(names) == 1:
        near = near.replace("did you mean ", f"did you mean {next(iter(names))}:")
    shown = list(names.items())[:_MOST_SHOWN]
    told = (f"{job_id} has {how_many(counts[job_id], 'item')}{_listed(each)}" for job_id, each in shown)
    return UserError(f"--only {shell_word(pattern)} matches no item{near}", "; ".join(told))


def _listed(names: Sequence[str]) -> str:
    more = ", …" if len(names) > _MOST_SHOWN else ""
    return f": {', '.join(names[:_MOST_SHOWN])}{more}" if names else ""


class Selector:
    """The selection of one run, for its `jobs`. `words` and `reason` are for people.

    `left_out`: the jobs of which no item is selected, whatever their items are.
    """

    def __init__(self, selection: Selection, jobs: Sequence[Job]) -> None:
        self.words = words_of(selection)
        self.reason = not_selected(selection)
        # Whoever names a label by its own text means what is shown of it.
        self._selection = msgspec.structs.replace(selection, only=tuple(map(on_one_line, selection.only)))
        self._jobs = {job.id: job for job in jobs}
        self._followers: dict[str, list[str]] = {job.id: [] for job in jobs}
        for job in jobs:
            for parent in chain_of(job):
                self._followers[parent].append(job.id)
        self._named = {job.id for job in jobs if not selection.only or any(names_job(each, job.id) for each in selection.only)}
        self._needed = self._needed_by(self._named)
        self._needed_whole = {need for id_ in self._named | self._needed for need in barriers_of(self._jobs[id_])}
        self.left_out = frozenset(self._jobs.keys() - self._named - self._needed)
        self._matched: set[str] = set()
        self._undecided: dict[str, set[tuple[str, int]]] = {}
        """By pattern: the items that it names or not as soon as their labels are known."""
        self._looked_at: set[str] = set()
        self._patterns_of: dict[tuple[str, int], JobPatterns] = {}
        self._choices: dict[int, _Choice] = {}
        """By count: what was found out for good, or each job of a chain would ask its whole chain once more."""

    def select_items(self, job_id: str, count: int, labels: Labels) -> Chosen:
        """The items that are selected of a job with `count` items. Raises LabelsUnknown."""
        if job_id in self.left_out:
            return frozenset()
        if not self.words:
            return None
        choice = self._choices.pop(count, None) or _Choice(self, count)
        chosen = choice.select(job_id, labels)
        if choice.is_final:
            self._choices[count] = choice
        self._looked_at.add(job_id)
        # Nobody asks any more: of a million items these are the largest thing that a session would hold.
        if len(self._looked_at) + len(self.left_out) == len(self._jobs):
            self._choices.clear()
        return None if chosen is not None and len(chosen) == count else chosen

    def admits(self, job_id: str, index: int, count: int, label: str | None) -> bool:
        """Whether a chosen item whose label was `LATER` is selected, now that its label is known."""
        for undecided in self._undecided.values():
            undecided.discard((job_id, index))
        return job_id not in self._named or self.matches(job_id, index, count, lambda: label, {})

    def idle_patterns(self) -> Iterator[str]:
        """The patterns that have matched no item, where all items that they could match, and their labels, are known."""
        for pattern in self._selection.only:
            is_open = ":" not in pattern or pattern in self._matched or self._undecided.get(pattern)
            if not is_open and self._looked_at.issuperset(self.jobs_named_by(pattern)):
                yield pattern

    def jobs_named_by(self, pattern: str) -> list[str]:
        """The jobs of which the pattern may match items, in file order."""
        return [job_id for job_id in self._jobs if names_job(pattern, job_id)]

    # What `_Choice` asks.

    def is_named(self, job_id: str) -> bool:
        return job_id in self._named

    def is_needed_whole(self, job_id: str) -> bool:
        return job_id in self._needed_whole

    def parents(self, job_id: str) -> tuple[str, ...]:
        return chain_of(self._jobs[job_id])

    def selected_followers(self, job_id: str) -> list[str]:
        return [each for each in self._followers[job_id] if each in self._named or each in self._needed]

    def exact_matches(self, job_id: str, count: int, labels: Labels) -> dict[str, frozenset[int]]:
        """As of `JobPatterns`."""
        return self._patterns(job_id, count).exact_matches(partial(labels, job_id))

    def matches(
        self,
        job_id: str,
        index: int,
        count: int,
        label: Callable[[], str | Later | None],
        exact: Mapping[str, frozenset[int]],
    ) -> bool:
        """Whether a pattern names the item, or may do so where its label is known only later. `exact`: as of `exact_matches`."""
        is_matched = not self._selection.only
        for pattern, found in self._patterns(job_id, count).found(index, label, exact):
            is_matched = True
            if found is LATER:
                self._undecided.setdefault(pattern, set()).add((job_id, index))
            else:
                self._matched.add(pattern)
        return is_matched

    def _patterns(self, job_id: str, count: int) -> JobPatterns:
        if (job_id, count) not in self._patterns_of:
            self._patterns_of[job_id, count] = JobPatterns(self._selection.only, job_id, count)
        return self._patterns_of[job_id, count]

    def names_items(self, job_id: str) -> bool:
        """Whether a pattern may name an item of the job, and not the job alone."""
        return any(":" in pattern and names_job(pattern, job_id) for pattern in self._selection.only)

    def names_item(
        self, job_id: str, index: int, count: int, label: Callable[[], str | Later | None], exact: Mapping[str, frozenset[int]]
    ) -> bool:
        """Whether a pattern names this very item, and not its job alone. As of `matches`."""
        found = self._patterns(job_id, count).found(index, label, exact)
        return any(":" in pattern and is_found is not LATER for pattern, is_found in found)

    def limit_items(self, job_id: str, indices: Iterable[int]) -> frozenset[int]:
        """The first of `indices`, as many as `--limit` allows."""
        limit = self._selection.limit
        if limit is None:
            return frozenset(indices)
        taken = []
        for index in indices:
            taken.append(index)
            if len(taken) == limit:
                # The other items are not looked at, so no pattern of this job can be reported as matching nothing.
                self._matched |= {pattern for pattern in self._selection.only if names_job(pattern, job_id)}
                break
        return frozenset(taken)

    def _needed_by(self, named: set[str]) -> set[str]:
        """The jobs that named jobs need, directly or not, and that are not named."""
        needed: set[str] = set()
        to_do = list(named)
        while to_do:
            for need in self._jobs[to_do.pop()].needs:
                if need not in named and need not in needed:
                    needed.add(need)
                    to_do.append(need)
        return needed


class _Choice:
    """The items of jobs that have so many. All jobs of a chain have the same count: an index means the same item in all of them.

    `is_final`: no label was asked for that is not known yet, so nothing of it will ever be found out otherwise.
    """

    def __init__(self, selector: Selector, count: int) -> None:
        self.is_final = True
        self._selector = selector
        self._count = count
        self._known: dict[str, Chosen | LabelsUnknown] = {}
        self._bounds: dict[str, Chosen] = {}
        self._own: dict[str, frozenset[int]] = {}
        self._below: dict[str, Chosen] = {}
        self._exact: dict[str, Mapping[str, frozenset[int]]] = {}

    def select(self, job_id: str, labels: Labels) -> Chosen:
        """As of `Selector.select_items`, of a job that is not left out."""
        self._labels = labels
        return self._selected(job_id)

    def _selected(self, job_id: str) -> Chosen:
        if job_id not in self._known:
            try:
                self._known[job_id] = self._find_selected(job_id)
            except LabelsUnknown as unknown:
                self.is_final = False
                self._known[job_id] = unknown
        found = self._known[job_id]
        if isinstance(found, LabelsUnknown):
            raise found
        return found

    def _find_selected(self, job_id: str) -> Chosen:
        """The items of a job, from those of the jobs around it. Raises LabelsUnknown."""
        selector = self._selector
        if selector.is_needed_whole(job_id) and not selector.is_named(job_id):
            return self._bound(job_id)
        # Chains need the items that their selected items follow.
        # The last of a chain first, each once: however many ways lead there, and however long they are.
        for below in _each_once(job_id, selector.selected_followers, self._known):
            if below != job_id:
                with suppress(LabelsUnknown):
                    self._selected(below)
        chosen: frozenset[int] = frozenset()
        if selector.is_named(job_id):
            chosen = self._taken(job_id)
        for follower in selector.selected_followers(job_id):
            try:
                theirs = self._selected(follower)
            except LabelsUnknown:
                # Which items the follower selects is not known yet, so any may be needed.
                theirs = None
            if theirs is None:
                return self._bound(job_id)
            chosen |= theirs
        return chosen

    def _taken(self, job_id: str) -> frozenset[int]:
        """The items of a named job that match, among those that its named parents leave."""
        if job_id not in self._own:
            bound = self._parents_bound(job_id)
            indices = range(self._count) if bound is None else sorted(bound)
            matched = (index for index in indices if self._is_matched(job_id, index))
            self._own[job_id] = self._selector.limit_items(job_id, matched)
        return self._own[job_id]

    def _is_matched(self, job_id: str, index: int) -> bool:
        exact = self._exact_of(job_id)
        return self._selector.matches(job_id, index, self._count, lambda: self._labels(job_id, index), exact)

    def _is_item_named(self, job_id: str, index: int) -> bool:
        exact = self._exact_of(job_id)
        return self._selector.names_item(job_id, index, self._count, lambda: self._labels(job_id, index), exact)

    def _exact_of(self, job_id: str) -> Mapping[str, frozenset[int]]:
        if job_id not in self._exact:
            self._exact[job_id] = self._selector.exact_matches(job_id, self._count, self._labels)
        return self._exact[job_id]

    def _bound(self, job_id: str) -> Chosen:
        """The items of a job that the named jobs above it in its chain leave, and those that items follow which are named."""
        if not self._selector.is_named(job_id):
            return self._parents_bound(job_id)
        below = self._named_below(job_id)
        return None if below is None else self._taken(job_id) | below

    def _named_below(self, job_id: str) -> Chosen:
        """The items of a job that items follow which are named themselves; all, as long as nobody knows which these are."""
        followers = self._selector.selected_followers
        # The last of a chain first, each once.
        for each in _each_once(job_id, followers, self._below):
            named: frozenset[int] = frozenset()
            for theirs in (chosen for job in followers(each) for chosen in (self._below[job], self._named_in(job))):
                if theirs is None:
                    break
                named |= theirs
            else:
                self._below[each] = named
                continue
            self._below[each] = None
        return self._below[job_id]

    def _named_in(self, job_id: str) -> Chosen:
        if not self._selector.names_items(job_id):
            return frozenset()
        try:
            return self._selector.limit_items(
                job_id, (index for index in range(self._count) if self._is_item_named(job_id, index))
            )
        except LabelsUnknown:
            self.is_final = False
            return None

    def _parents_bound(self, job_id: str) -> Chosen:
        parents = self._selector.parents
        # The first of a chain first, each once, as above.
        for each in _each_once(job_id, parents, self._bounds):
            self._bounds[each] = reduce(_both, (self._bound(parent) for parent in parents(each)), None)
        return self._bounds[job_id]


def _each_once(job_id: str, next_to: Callable[[str], Sequence[str]], known: Collection[str]) -> list[str]:
    """The job, and all jobs that are next to it or to one of these: each stands behind those that are next to it.

    No way leads on through what is `known`, for what is next to that is known as well.
    """
    found: dict[str, None] = {}
    todo = [(job_id, False)] if job_id not in known else []
    while todo:
        each, is_done = todo.pop()
        if is_done:
            found[each] = None
        elif each not in found:
            todo.append((each, True))
            todo += ((other, False) for other in next_to(each) if other not in found and other not in known)
    return list(found)


def words_of(selection: Selection) -> str:
    """`--only port:3 --limit 2`, to be shown; "" if everything is selected."""
    words = [f"--only {shell_word(pattern)}" for pattern in selection.only]
    return " ".join([*words, *([] if selection.limit is None else [f"--limit {selection.limit}"])])


def not_selected(selection: Selection) -> str:
    """Why an item is skipped, in words."""
    options = ["--only"] * bool(selection.only) + ([] if selection.limit is None else [f"--limit {selection.limit}"])
    return f"not selected ({', '.join(options)})"


def early_label(job: Job, index: int, value: Any, context: Mapping[str, Any]) -> str | Later | None:
    """The label of an item that has not started. `context` has `inputs`, `run` and `jobs`, as a `for_each` sees them."""
    if job.label is not None and ("parent" in job.label.names or (chain_of(job) and job.label.jobs)):
        return LATER
    names = {**context, "index": index}
    if job.for_each is not None:
        names["item"] = value
    try:
        return item_label(job, names)
    except ItemRefused:
        return None  # the item has no label, and fails for that if it is selected by its index


def _both(one: Chosen, other: Chosen) -> Chosen:
    if one is None or other is None:
        return one if other is None else other
    return one & other
