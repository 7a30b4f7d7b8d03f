"""Results without the secrets that are in them, many at a time: each by itself would be looked through for each secret."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

from orchestrator.cli.result_forms import Row, text_in_table
from orchestrator.reading.large_output import LargeOutput
from orchestrator.reading.many_results import PlainResult
from orchestrator.store.source_file import BLOCK_BYTES
from orchestrator.system.redaction import Redactor
from orchestrator.views.json_lines import TIMES, TIMES_S, json_line

_TEXTS = (str, list, dict, LargeOutput)
_OUR_WORDS = frozenset({"index", "status", "class", "exit_code", "attempts", "duration_s"}) | {*TIMES, *TIMES_S}
"""Fields of each result that are numbers, or words of ours: no secret is in them."""


def without_secrets(row: Row, redactor: Redactor) -> Row:
    """The row with its texts as a table has them, before they are cut."""
    return {
        name: redactor.redact_text(text_in_table(value)) if isinstance(value, _TEXTS) else value for name, value in row.items()
    }


class WatchedRows:
    """Rows with these fields, plain ones with all, and what of those that were taken since may hold a secret."""

    def __init__(self, rows: Iterable[Row | PlainResult], fields: list[str]) -> None:
        self._rows = rows
        # The id of the job is in the name of the item.
        needless = _OUR_WORDS | {"job"} if "item" in fields else _OUR_WORDS
        self._names = [field for field in fields if field not in needless]
        self._values: list[list[Any]] = []

    def __iter__(self) -> Iterator[Row | PlainResult]:
        if not self._names:
            return (yield from self._rows)
        # The last one, mostly null, twice: of one name alone there would be no tuple.
        values_of = itemgetter(*self._names, self._names[-1])
        for row in self._rows:
            # What is null or empty, and that is most, has nothing to be looked through.
            self._values.append([*filter(None, row.texts() if isinstance(row, PlainResult) else values_of(row))])
            yield row

    def take_suspects(self, redactor: Redactor) -> bool:
        """Whether a secret may be in a row that was taken since the last call, or in the one before, which may not be written
        to its end yet. False is certain."""
        values, self._values = self._values, self._values[-1:]
        if LargeOutput in map(type, itertools.chain.from_iterable(values)):
            return True
        return redactor.is_suspect(json_line(values))


def without_secrets_in_blocks(chunks: Iterable[bytes], watched: WatchedRows, redactor: Redactor) -> Iterator[bytes]:
    """The chunks, which are made of `watched`, redacted. The names of fields are not looked through, nor what has no texts."""
    stream = redactor.stream()
    for block in _in_blocks(chunks):
        is_suspect = watched.take_suspects(redactor)
        # Whole lines in which no secret begins, and no secret has begun before them.
        if not is_suspect and stream.is_settled and block.endswith(b"\n"):
            yield block
        else:
            yield stream.feed(block)
    yield stream.close()


def _in_blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) >= BLOCK_BYTES:
            yield bytes(block)
            block.clear()
    yield bytes(block)
