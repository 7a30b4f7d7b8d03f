"""The items of a job: what its `for_each` gives, one value at a time.

Files are read as a stream, so a list of a million lines costs no memory here. Every value is plain data that JSON can say, for
the list is recorded as JSON. Bytes that are not UTF-8 stay what they are (`workers.byte_text`), but in JSON, which has none.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, AnyStr

from orchestrator.jobsfile.globs import Matching, matching_paths
from orchestrator.jobsfile.language.template import RenderError, Template
from orchestrator.jobsfile.language.values import json_text, kind_in_words
from orchestrator.jobsfile.model import FileSource, ListSource, MatrixSource
from orchestrator.system.named_files import LARGEST_BYTES, open_named
from orchestrator.workers.byte_text import BYTE_ORDER_MARK, UTF16_MARKS, bytes_of_text, text_of_bytes
from orchestrator.workers.foreign import ForeignBytesError, decode_json

_LONGEST_CSV_FIELD = (1 << 31) - 1

MOST_POINTS = 10_000_000
"""Items of a matrix: of more a run would be busy for hours before the first of them starts."""


class SourceError(Exception):
    """A source that gives no list of items; one line that says which, where and why."""


def list_items(
    source: ListSource | FileSource | MatrixSource, context: Mapping[str, Any], folder: str, matching: Matching = matching_paths
) -> Iterator[Any]:
    """The values of `source`, in order; paths are relative to `folder`. Raises SourceError, and what `matching` raises, also
    halfway. `matching`: what gives the paths that a pattern names.
    """
    match source:
        case ListSource():
            items = _from_list(source, context)
        case FileSource():
            items = _from_file(source, context, folder, matching)
        case MatrixSource():
            items = _from_matrix(source, context, folder, matching)
    return _in_batches(items, source.batch) if source.batch else items


def _in_batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _from_list(source: ListSource, context: Mapping[str, Any]) -> Iterator[Any]:
    values = source.values
    if isinstance(values, Template):
        given = _render(values, context)
        if isinstance(given, str):
            raise SourceError(f'{values.source} gave text, not a list; output = "lines" makes a list of a job\'s output')
        if not isinstance(given, list):
            raise SourceError(f"{values.source} gave {kind_in_words(given)}, not a list")
        values = tuple(given)
    for index, value in enumerate(values):
        item = _render(value, context) if isinstance(value, Template) else value
        wrong = _what_is_not_plain(item)
        if wrong:
            raise SourceError(f"item {index} holds {wrong}, which JSON cannot say")
        yield item


def _what_is_not_plain(value: Any) -> str | None:
    match value:
        case None | bool() | int() | str():
            return None
        case float():
            return None if math.isfinite(value) else f"the number {value}"
        case list():
            return next(filter(None, map(_what_is_not_plain, value)), None)
        case dict():
            return next(filter(None, map(_what_is_not_plain, value.values())), None)
    return kind_in_words(value)


def _render(template: Template, context: Mapping[str, Any]) -> Any:
    try:
        return template.render(context)
    except RenderError as error:
        raise SourceError(str(error)) from error


def _from_matrix(source: MatrixSource, context: Mapping[str, Any], folder: str, matching: Matching) -> Iterator[dict[str, Any]]:
    axes: list[list[Any]] = []
    for name, axis in source.axes.items():
        try:
            axes.append(list(list_items(axis, context, folder, matching)))
        except SourceError as error:
            raise SourceError(f"axis {name}: {error}") from error
    # Known before the first of them is written: a list that fills the disk is a mistake of the file.
    count = math.prod(map(len, axes))
    if count > MOST_POINTS:
        sizes = " x ".join(str(len(axis)) for axis in axes)
        raise SourceError(f"matrix: {sizes} are {count:,} items; a job has at most {MOST_POINTS:,}")
    for point in itertools.product(*axes):
        yield dict(zip(source.axes, point, strict=True))


def _from_file(source: FileSource, context: Mapping[str, Any], folder: str, matching: Matching) -> Iterator[Any]:
    # Refused here, because the system would tell of a folder, or of nothing at all.
    path = _render(source.path, context)
    if not path:
        raise SourceError(f"{source.kind}: the path is empty")
    if "\0" in path:
        raise SourceError(f"{source.kind}: the path holds a NUL byte")
    # A pattern that matches nothing is a list without items; a file that cannot be read is a mistake.
    if source.kind == "glob":
        yield from matching(path, folder)
        return
    try:
        match source.kind:
            case "lines":
                yield from (text for _, text in _lines(path, folder))
            case "jsonl":
                yield from _json_lines(path, folder)
            case "csv":
                yield from _rows(path, folder, source.delimiter)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


def _lines(path: str, folder: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, without their ends, each with its number."""
    with open_named(os.path.join(folder, path)) as file:
        for number, line in enumerate(_bounded(file, path), 1):
            if number == 1:
                _refuse_utf16(line, path)
                line = line.removeprefix(BYTE_ORDER_MARK)
            text = text_of_bytes(line)
            text = text.removesuffix("\n").removesuffix("\r")
            if text:
                yield number, text


def _bounded(file: IO[AnyStr], path: str) -> Iterator[AnyStr]:
    """The lines of `file`. Raises SourceError for one that is larger than what can be held."""
    number = 0
    while line := file.readline(LARGEST_BYTES + 1):
        number += 1
        if len(line) > LARGEST_BYTES:
            raise SourceError(f"{path}:{number}: a line of more than {LARGEST_BYTES >> 20} MiB")
        yield line


def _refuse_utf16(start: bytes, path: str) -> None:
    """Raise SourceError if a file that begins so is one of two bytes a character: each line would hold NUL bytes."""
    if start.startswith(UTF16_MARKS):
        raise SourceError(f"{path}: it is in UTF-16; save it in UTF-8")


def _json_lines(path: str, folder: str) -> Iterator[Any]:
    for number, text in _lines(path, folder):
        if text.isspace():
            continue
        try:
            yield decode_json(bytes_of_text(text))
        except ForeignBytesError as error:
            raise SourceError(f"{path}:{number}: {error}") from error


def _rows(path: str, folder: str, delimiter: str | None) -> Iterator[dict[str, str]]:
    import csv  # Most files have no table.

    # Of the whole process, and by default small: a field may hold a file.
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    place = os.path.join(folder, path)
    with open_named(place) as data:
        _refuse_utf16(data.read(2), path)
        data.seek(0)
        file = io.TextIOWrapper(data, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(_bounded(file, path), strict=True, delimiter=delimiter or ",")
        try:
            header = next(reader, None)
            if not header:
                raise SourceError(f"{path}:1: expected a line of column names")
            if delimiter is None and len(header) == 1 and (other := _other_delimiter(header[0])):
                raise SourceError(f"{path}:1: one column, {header[0]!r}: {other}")
            # An item is a mapping by these names: of two that are the same one would be lost.
            names = Counter(header)
            twice = next((name for name in header if names[name] > 1), None)
            if twice is not None:
                raise SourceError(f"{path}:1: the column {twice!r} is there twice")
            for row in reader:
                if not row:
                    continue
                # A row of another length is mostly a comma or a quote that was forgotten: its fields would have wrong names.
                if len(row) != len(header):
                    raise SourceError(f"{path}:{reader.line_num}: {len(row)} fields, but the header has {len(header)}")
                yield dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise SourceError(f"{path}:{reader.line_num}: {error}") from error


def _other_delimiter(name: str) -> str:
    """What to do about a column that is named as if it were several; "" if it is not."""
    found = next((each for each in (";", "\t", "|") if each in name), None)
    return f'if that are several, say delimiter = {json_text(found)}, else delimiter = ","' if found is not None else ""
