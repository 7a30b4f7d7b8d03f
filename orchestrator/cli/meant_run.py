"""Which run a command line means, and which of its words are items.

The rule: RUN stands first, and may be left out. A command that only reads then takes the newest run. One that changes something
takes the only run that it can mean, and says which; where there are several, or none, it names what there is and does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from orchestrator.cli.noting import tell_note
from orchestrator.errors import UserError
from orchestrator.reading.item_names import find_items, find_round
from orchestrator.store.checkpoint import read_header
from orchestrator.store.known_runs import find_run, known_runs, list_runs, parent_of
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import SeenLocks, is_locked
from orchestrator.system.wording import shell_word, shown, title
from orchestrator.workers.wording import first_in_words

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.cli.invocation import Invocation
    from orchestrator.reading.run_records import Records
    from orchestrator.views.happenings import OpenQuestion

Choice = Callable[["Path"], tuple[RunDir, str]]
"""The run of this home that is meant where none is named, and why it is, for a note. Raises UserError: none is, or several could
be."""

_NAME_IT = "name a RUN (orchestrate list), or give --last"
_SURE_CHARACTERS = 4
"""So much of an id is hardly an item's label."""


class Meant(msgspec.Struct, frozen=True):
    """The run, and the words that are left for items. `is_left_out`: nothing named the run, so the first word may be a slip."""

    run_dir: RunDir
    words: tuple[str, ...]
    is_left_out: bool = False

    def items(self, records: Records) -> list[tuple[str, int]]:
        """The items that the words name, each once, in the order of the words. Raises UserError."""
        found: dict[tuple[str, int], None] = {}
        for word in self.words:
            try:
                found.update(dict.fromkeys(find_items(records, word)))
            except UserError as no_item:
                if not self.is_left_out or word != self.words[0]:
                    raise
                raise self._nothing_called_so(word, no_item) from None
        return list(found)

    def round(self, records: Records) -> tuple[list[tuple[str, int]], int | None]:
        """As `items`, of one word that may end in `#ROUND`, and that round; None: it does not."""
        try:
            return find_round(records, self.words[0])
        except UserError:
            return self.items(records), None  # and so it says what is wrong

    def _nothing_called_so(self, word: str, no_item: UserError) -> UserError:
        try:
            named = find_run(self.run_dir.home, word)
        except UserError as no_run:
            hint = no_run.hint if no_run.hint.startswith("did you mean") else no_item.hint
            return UserError(f"{no_run.message}; and {no_item.message}", hint)
        return UserError(f"which item of run {named.run_id}?", f"orchestrate status {named.run_id} shows what ran")


def run_and_item(invocation: Invocation, words: Iterable[str | None]) -> Meant:
    """RUN, or the newest run, and the ITEM behind it, which must be given. Raises UserError."""
    given = tuple(word for word in words if word is not None)
    if not given:
        raise UserError("which item?", "name one as JOB:INDEX or JOB:LABEL: orchestrate status shows what ran")
    if len(given) == 1:
        return Meant(newest(invocation), given, is_left_out=not invocation.is_last)
    return Meant(invocation.find(given[0]), given[1:])


def run_and_item_or_all(invocation: Invocation, words: Iterable[str | None]) -> Meant:
    """As `run_and_item`, but without words it is the newest run, and a word that names no item of that may name a run alone."""
    given = tuple(word for word in words if word is not None)
    if not given:
        return Meant(newest(invocation), ())
    if len(given) == 1 and not invocation.is_last:
        from orchestrator.reading.run_reader import RunReader

        try:
            find_items(RunReader.read(newest(invocation)), given[0])
        except UserError:
            with suppress(UserError):
                return Meant(invocation.find(find_run(invocation.home(), given[0]).run_id), ())
    return run_and_item(invocation, given)


def run_and_items(
    invocation: Invocation, words: Iterable[str | None], otherwise: Choice | None = None, *, most: int | None = None
) -> Meant:
    """RUN and any number of items (at most `most`) behind it, either left out.

    `otherwise`: the run of a command that changes something, where none is named; None: it only reads. Raises UserError.
    """
    given = tuple(word for word in words if word is not None)
    if invocation.is_last:
        return Meant(newest(invocation), given)
    if not given:
        return Meant(_left_out(invocation, otherwise), ())
    if most is not None and len(given) > most:
        return Meant(invocation.find(given[0]), given[1:])
    # JOB:INDEX is hardly a run, and nobody waits for a look at all of them.
    if ":" in given[0] and not os.path.lexists(given[0]):
        return Meant(_left_out(invocation, otherwise), given, is_left_out=True)
    # The first word is a run if it can be one.
    try:
        named = find_run(invocation.home(), given[0])
    except UserError as no_run:
        try:
            return Meant(_left_out(invocation, otherwise), given, is_left_out=True)
        except UserError:
            raise no_run from None
    if otherwise is not None and named.run_id != given[0]:
        _refuse_both(invocation.home(), given[0], named, otherwise)
    return Meant(invocation.find(named.run_id), given[1:])


def run_and_gate(invocation: Invocation, run: str | None, gate: str | None) -> tuple[RunDir, str]:
    """RUN, or the only run that waits at the gate, and the GATE behind it. Raises UserError."""
    if gate is not None:
        return invocation.find(run), gate
    if run is None:
        asked = next(iter(_questions(invocation.home())), None)
        if asked is None:
            raise UserError("which gate? None waits for an answer", "name RUN and GATE: it says why its gate takes no answer")
        told = f"which gate? {title(asked.item, asked.label)} of run {asked.run_id} asks: {shown(asked.question, 300)}"
        raise UserError(told, f"{invocation.program()} approve {asked.run_id} {shell_word(asked.gate)}")
    if invocation.is_last:
        return newest(invocation), run
    asking = {asked.run_id: None for asked in _questions(invocation.home()) if _is_called(asked, run)}
    if asking:
        return _left_out(invocation, partial(_only, run_ids=[*asking], does=f"waits at {run!r}", do=f"wait at {run!r}")), run
    try:
        named = find_run(invocation.home(), run)
    except UserError:
        raise UserError(f"no run waits at {run!r}", "name the RUN, too: it says why its gate takes no answer") from None
    raise UserError("which gate?", f"orchestrate status {named.run_id} shows those that wait for an answer")


def run_to_steer(invocation: Invocation, run: str | None) -> RunDir:
    """RUN, or the only run that goes on. Raises UserError."""
    return invocation.find(run) if run is not None or invocation.is_last else _left_out(invocation, only_living)


def newest(invocation: Invocation) -> RunDir:
    """The newest run."""
    return invocation.find(None)


def newest_here(home: Path) -> tuple[RunDir, str]:
    """The newest run, if it works where the user stands: in this folder, or one above or below it."""
    found = find_run(home, None)
    header = read_header(found.checkpoint)
    folder, here = os.path.realpath(header.folder), os.getcwd()
    if os.path.commonpath((folder, here)) not in (folder, here):
        raise UserError(f"which run? The newest, {found.run_id} ({header.name}), works in {folder}, not here", _NAME_IT)
    return found, f"({header.name}), the newest"


def only_living(home: Path) -> tuple[RunDir, str]:
    """The only run that goes on; child runs go on with theirs."""
    locks = SeenLocks()
    living = list_runs(home, lambda each: is_locked(each.supervisor_lock, locks))
    return _only(home, [run.run_id for run in living if parent_of(run) is None], "goes on", "go on")


def must_be_named(_: Path) -> tuple[RunDir, str]:
    """None: what cannot be taken back is not done to a run that nobody named."""
    raise UserError("which run? What is cancelled does not go on", _NAME_IT)


def _left_out(invocation: Invocation, otherwise: Choice | None) -> RunDir:
    """The run of a command line that names none; a note says which one is changed."""
    if otherwise is None:
        return newest(invocation)
    run_dir, why = otherwise(invocation.home())
    tell_note(f"run {run_dir.run_id} {why}")
    return invocation.find(run_dir.run_id)


def _refuse_both(home: Path, word: str, named: RunDir, otherwise: Choice) -> None:
    """Raise UserError if the word, which names a run otherwise than by its id, may as well be an item of the run left out."""
    from orchestrator.reading.run_reader import RunReader

    try:
        other, _ = otherwise(home)
        if word not in read_header(other.checkpoint).jobs:
            # Who looks for a label looks at all items: only for what is hardly meant as an id.
            if len(word) >= _SURE_CHARACTERS or not named.run_id.startswith(word):
                return
            find_items(RunReader.read(other), word)
    except (UserError, FileNotFoundError):
        return
    raise UserError(f"{word!r} is run {named.run_id}, and an item of run {other.run_id}", "write RUN ITEM, or the whole id")


def _only(home: Path, run_ids: Sequence[str], does: str, do: str) -> tuple[RunDir, str]:
    if not run_ids:
        raise UserError(f"which run? None {does}", _NAME_IT)
    if len(run_ids) > 1:
        raise UserError(f"which run? {len(run_ids)} {do}: {first_in_words(run_ids)}", "name one of these as RUN")
    return RunDir.of(home, run_ids[0]), f"is the only one that {does}"


def _questions(home: Path) -> Iterable[OpenQuestion]:
    """What runs of this home ask just now, the newest first; a child run's question is asked by the run above it."""
    from orchestrator.reading.open_questions import open_questions
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.shown_summary import KeptSummaries, told_again

    summaries, locks = KeptSummaries(), SeenLocks()
    for run_dir, parent in known_runs(home, summaries.birth):
        kept = summaries.take(run_dir)
        # A run that has ended otherwise than paused asks nothing, and of that no more is read.
        is_over = kept is not None and kept.summary["status"] != "paused" and not is_locked(run_dir.supervisor_lock, locks)
        if parent is not None or is_over:
            continue
        try:
            told = told_again(run_dir)
            yield from told[1].questions if told is not None else open_questions(RunReader.read(run_dir))
        except UserError:
            continue  # damaged: who names it is told so


def _is_called(asked: OpenQuestion, gate: str) -> bool:
    from fnmatch import fnmatchcase

    job_id = asked.gate.partition(":")[0]
    return gate in (job_id, asked.label) or any(fnmatchcase(name, gate) for name in (asked.gate, f"{job_id}:{asked.label}"))
