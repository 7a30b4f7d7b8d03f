"""The needs between jobs: circles in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def find_cycles(needs: Mapping[str, Collection[str]]) -> list[tuple[str, ...]]:
    """Circles in `needs` (job -> the jobs it needs), each as `(a, b, a)`: a needs b, b needs a.

    Starts with the job that comes first in `needs`. No job is in two of them: where circles overlap one is told, and the
    next load tells the next. A need that is not a key of `needs` is no part of a circle.
    """
    if not any(needs.values()):
        return []
    from graphlib import CycleError, TopologicalSorter  # Many files have no needs.

    left = {job: set(needed) for job, needed in needs.items()}
    order = {job: place for place, job in enumerate(needs)}
    cycles = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            # graphlib lists each job before the one that needs it, and the first again at the end.
            members = error.args[1][:0:-1]
            first = members.index(min(members, key=order.__getitem__))
            cycles.append((*members[first:], *members[:first], members[first]))
            left = {job: needed - set(members) for job, needed in left.items() if job not in members}
        else:
            return sorted(cycles, key=lambda cycle: order[cycle[0]])
