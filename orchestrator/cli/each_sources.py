"""The items of `each`: read from its sources, taken apart, and combined.

One source without more is read as its items are asked for, so that memory does not grow with their number. Sources that are
combined are read whole.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from orchestrator.cli.each_lines import item_lines, parted_by, stdin_stream
from orchestrator.cli.each_words import TEXT, ItemForm, SourceWords
from orchestrator.cli.noting import tell_note
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.system.coming_input import ComingInput

STDIN = SourceWords(("-",), are_files=True)
"""Where items come from if nothing else is said."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How sources become items. `separator`: what ends an item in a file; None: its lines. `batch`: so many make one item.

    `column_separator`: what separates the values of an item, one character or a regular expression. `has_header`: what comes
    first in each source names its values. `coming`: by which stdin is read.
    """

    separator: bytes | None = None
    batch: int = 1
    column_separator: str | None = None
    has_header: bool = False
    coming: ComingInput | None = None


class Items(msgspec.Struct, frozen=True):
    """The items of a run, read once, in order: texts, or what `form` says."""

    form: ItemForm
    values: Iterable[Any]

    def with_at_least(self, count: int) -> Iterator[Any]:
        """The items, each with at least so many values. Raises UserError for one that has fewer."""
        for number, value in enumerate(self.values, start=1):
            if self.form.values == 0 and len(value) < count:
                shown = " ".join(value)
                raise UserError(f"item {number} has {len(value)} values, and {{{count}}} is wanted: {shown}", "look at --colsep")
            yield value


Row = Sequence[str]


def read_items(sources: Sequence[SourceWords], reading: Reading) -> Items:
    """The items of the sources, none of which means stdin. Raises UserError, also when items are taken."""
    parted = _columns_by(reading.column_separator)
    rows = [map(parted, _texts_of(source, reading)) for source in sources or [STDIN]]
    names = _names(rows) if reading.has_header else ()
    is_plain = len(rows) == 1 and reading.column_separator is None
    if reading.batch > 1:
        if not is_plain or names:
            raise UserError("-n takes several values of one source", "leave --colsep, --header and all sources but one out")
        form = ItemForm(reading.batch, is_short=True)
        return Items(form, _in_batches((row[0] for row in rows[0]), reading.batch))
    if names:
        return Items(ItemForm(names=names), _tables(names, _combined(sources, rows)))
    if is_plain:
        return Items(TEXT, (row[0] for row in rows[0]))
    return Items(ItemForm(0 if reading.column_separator is not None else len(rows)), map(list, _combined(sources, rows)))


def _texts_of(source: SourceWords, reading: Reading) -> Iterable[str]:
    return _texts_in(source.words[0], reading) if source.are_files else source.words


def _texts_in(path: str, reading: Reading) -> Iterator[str]:
    """What a file has; `-` is stdin. Opened when its first item is asked for: a person at a terminal is then told so."""
    if path == "-":
        yield from _parted(stdin_stream(reading.coming), "stdin", reading)
        return
    try:
        with open(path, "rb") as stream:
            yield from _parted(stream, path, reading)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}", "name a file with items, one a line; - is stdin") from error


def _parted(stream: BinaryIO, name: str, reading: Reading) -> Iterator[str]:
    if reading.separator is not None:
        return parted_by(reading.separator, stream, name)
    return item_lines(stream, tell_note, name)


def _columns_by(separator: str | None) -> Callable[[str], Row]:
    if separator is None:
        return lambda text: (text,)
    if len(separator) == 1:
        return lambda text: text.split(separator)
    try:
        return re.compile(separator).split
    except re.error as error:
        raise UserError(f"--colsep: {separator} is no regular expression: {error}", "give one character, or mend it") from error


def _names(rows: Sequence[Iterator[Row]]) -> tuple[str, ...]:
    """The names of all values, taken off each source."""
    firsts = [next(source, ()) for source in rows]
    names = tuple(itertools.chain(*firsts))
    if not all(firsts):
        raise UserError("--header: a source is empty, and has no names", "what comes first in each source names its values")
    if len({*names}) < len(names):
        raise UserError(f"--header: a name stands there twice: {' '.join(names)}", "each value needs a name of its own")
    return names


def _combined(sources: Sequence[SourceWords], rows: Sequence[Iterable[Row]]) -> Iterator[Row]:
    """Each of a source with each of the others, the last one fastest; those that are linked in step, as far as the shortest."""
    if len(rows) == 1:
        return iter(rows[0])
    groups: list[list[Iterable[Row]]] = []
    for source, of_source in zip(sources, rows, strict=True):
        if source.is_linked:
            groups[-1].append(of_source)
        else:
            groups.append([of_source])
    steps = [map(_joined, zip(*group, strict=False)) for group in groups]
    return map(_joined, itertools.product(*steps))


def _joined(rows: Iterable[Row]) -> Row:
    return [*itertools.chain(*rows)]


def _tables(names: tuple[str, ...], rows: Iterable[Row]) -> Iterator[dict[str, str]]:
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise UserError(f"item {number} has {len(row)} values, and the header {len(names)} names", "look at --colsep")
        yield dict(zip(names, row, strict=True))


def _in_batches(texts: Iterator[str], size: int) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, size)):
        yield batch
