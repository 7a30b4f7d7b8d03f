"""Plain tables: each column is as wide as its widest cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table. All rows are held in memory, because a column's width is known only after the last."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
