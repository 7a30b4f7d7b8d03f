"""Results in another order than that of the items: by a field, for who looks for what took long, or cost much.

Promise: in memory are two numbers and the field of each item, whatever it wrote; its result is made when its turn comes.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

from orchestrator.reading.item_result import Reads, shown_result
from orchestrator.reading.many_results import shown_results
from orchestrator.reading.run_records import Records
from orchestrator.store.records import Status


class Order(NamedTuple):
    """`field`, ascending, or `is_reversed`; items of which it is null stand last. `most`: only so many of the first."""

    field: str
    is_reversed: bool = False
    most: int | None = None


def ordered_results(
    records: Records, order: Order, status: Status | None = None, *, with_output: Reads = True
) -> Iterator[dict[str, Any]]:
    """The `shown_result` of each item that is seen in that status (None: in any), in that order.

    Items of which the field is the same stand in item order. The history must not change meanwhile.
    """
    known: list[tuple[Any, str, int]] = []
    unknown: list[tuple[str, int]] = []
    for result in shown_results(records, None, status, with_output=False):
        item, value = (result["job"], result["index"]), result[order.field]
        if value is None:
            unknown.append(item)
        else:
            known.append((value, *item))
    # By the field alone: both sorts are stable, also where they are reversed.
    if order.most is None:
        known.sort(key=_value, reverse=order.is_reversed)
    else:
        choose = heapq.nlargest if order.is_reversed else heapq.nsmallest
        known = choose(order.most, known, key=_value)
    items = [*((job_id, index) for _, job_id, index in known), *unknown]
    for job_id, index in items if order.most is None else items[: order.most]:
        yield shown_result(records, job_id, index, with_output=with_output)


def _value(known: tuple[Any, str, int]) -> Any:
    return known[0]
