"""The graph of a file's jobs, drawn as a tree and as Mermaid: which job waits for which, as a whole or item by item (a chain)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import (
    ChainSource,
    FileSource,
    GateAction,
    Job,
    ListSource,
    MatrixSource,
    Repeat,
    Source,
    WorkflowAction,
    barriers_of,
    chain_of,
)
from orchestrator.system.wording import how_many, shown
from orchestrator.workers.lazy_pattern import lazy_pattern

_WIDEST = 60
"""Characters of a template, a path or a list of jobs that are shown."""

_DEEPEST = 20
"""Levels of a tree. What lies deeper begins at the margin again, further down: a chain of a thousand jobs stays readable."""

_OBEYED_BY_MERMAID = lazy_pattern(r'["#<>&`%\\;]')


class Node(msgspec.Struct, frozen=True):
    """A job as it is drawn. `needs`: jobs that are waited for as a whole; `follows`: those whose items its items follow.

    `for_each`, `when`, `repeat`, `gate`, `workflow`: in words, on one line; None without the key.
    """

    job: str
    needs: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    for_each: str | None = None
    when: str | None = None
    repeat: str | None = None
    gate: str | None = None
    workflow: str | None = None

    @property
    def after(self) -> tuple[str, ...]:
        """All that it waits for, each once."""
        return tuple(dict.fromkeys((*self.follows, *self.needs)))

    @property
    def words(self) -> tuple[str, ...]:
        """What there is to say of it besides its place in the graph."""
        return tuple(filter(None, (self.workflow, self.for_each, self.when, self.repeat, self.gate)))


def nodes_of(jobs: Sequence[Job]) -> list[Node]:
    """In file order."""
    return [
        Node(
            job=job.id,
            needs=barriers_of(job),
            follows=chain_of(job),
            for_each=_items(job.for_each) if job.for_each is not None else None,
            when=f"when {_source(job.when)}" if job.when is not None else None,
            repeat=_loop(job.repeat) if job.repeat is not None else None,
            gate=_gate(job) if job.is_gate else None,
            workflow=f"runs {_source(job.action.path)}" if isinstance(job.action, WorkflowAction) else None,
        )
        for job in jobs
    ]


def draw_tree(nodes: Sequence[Node]) -> list[str]:
    """Each job under the first that it waits for, once; where it comes up again it is only named. Double lines are chains."""
    below: dict[str, list[Node]] = {node.job: [] for node in nodes}
    for node in nodes:
        for parent in node.after:
            below[parent].append(node)
    lines: list[str] = []
    drawn: set[str] = set()
    roots = deque(node for node in nodes if not node.after)
    # A root waits for nothing, or lay too deep under another one.
    while roots:
        # (what stands before the job, what stands before those below it, their level, the job)
        waiting = [("", "", 0, roots.popleft())]
        while waiting:
            head, margin, level, node = waiting.pop()
            # Drawn once, under the first; a root that was drawn below another meanwhile needs no line at all.
            if node.job in drawn:
                if level:
                    lines.append(f"{head}{node.job} (above)")
                continue
            if level == _DEEPEST:
                lines.append(f"{head}{node.job} (below)")
                roots.append(node)
                continue
            drawn.add(node.job)
            lines.append(head + "  ".join((node.job, *node.words)))
            # The last of a stack comes first.
            for place, child in reversed(list(enumerate(below[node.job], start=1))):
                is_last = place == len(below[node.job])
                is_chained = node.job in child.follows and node.job not in child.needs
                corner = ("╘══ " if is_last else "╞══ ") if is_chained else ("└── " if is_last else "├── ")
                waiting.append((margin + corner, margin + ("    " if is_last else "│   "), level + 1, child))
    return lines


def draw_mermaid(nodes: Sequence[Node]) -> list[str]:
    """A flowchart: fan-outs have double sides, gates pointed ones; thick arrows, which say so, are chains."""
    lines = ["flowchart TD"]
    for node in nodes:
        label = "<br/>".join(map(_escaped, (node.job, *node.words)))
        is_fan_out = node.for_each is not None or bool(node.follows)
        left, right = ("{{", "}}") if node.gate is not None else ("[[", "]]") if is_fan_out else ("[", "]")
        lines.append(f'    {_id(node.job)}{left}"{label}"{right}')
    for node in nodes:
        lines += [f"    {_id(parent)} ==>|item by item| {_id(node.job)}" for parent in node.follows]
        lines += [f"    {_id(parent)} --> {_id(node.job)}" for parent in node.needs]
    return lines


def _items(source: Source) -> str | None:
    """None for a chain: its edges say it."""
    match source:
        case ListSource(values=tuple() as values):
            words = f"for each of {how_many(len(values), 'value')}"
        case ListSource(values=Template() as template):
            words = f"for each of {_source(template)}"
        case FileSource():
            what = {"glob": "file", "lines": "line", "jsonl": "value", "csv": "row"}[source.kind]
            words = f"for each {what} of {_source(source.path)}"
        case MatrixSource():
            words = f"for each combination of {shown(', '.join(source.axes), _WIDEST)}"
        case ChainSource():
            return None
    return words if source.batch is None else f"{words}, {source.batch} at a time"


def _loop(repeat: Repeat) -> str:
    return f"again {'until' if repeat.is_until else 'while'} {_source(repeat.condition)}"


def _gate(job: Job) -> str:
    assert isinstance(job.action, GateAction)
    back = f", or back to {job.on_reject.job}" if job.on_reject.job is not None else ""
    return f"asks {_source(job.action.question)}{back}"


def _source(template: Template | str) -> str:
    source = template if isinstance(template, str) else template.source
    return shown(" ".join(source.split()), _WIDEST)


def _id(job: str) -> str:
    """Mermaid has words of its own, such as `end` and `class`, and takes two hyphens for an arrow. No id of a job has a dot."""
    return f"job_{job.replace('-', '.')}"


def _escaped(text: str) -> str:
    return _OBEYED_BY_MERMAID.sub(lambda found: f"#{ord(found[0])};", text)
