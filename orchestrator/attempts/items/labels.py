"""Labels: what people call an item, on one line and without anything that a terminal would act on.

An item of a chain that has no `label` of its own is called as the item that it follows: it is about the same thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.attempts.template_texts import rendered_text
from orchestrator.jobsfile.language.values import on_one_line, text_of
from orchestrator.jobsfile.model import Job, chain_of

_LONGEST_ITEM_LABEL = 80
_LONGEST_LABEL = 200


def item_label(job: Job, context: Mapping[str, Any]) -> str | None:
    """One line by which people know the item: `label`, else that of the item which it follows, else the item itself if it is
    short and no list. Raises ItemRefused.
    """
    if job.label is not None:
        text = rendered_text(job.label, context, "label")
        if len(text) > _LONGEST_LABEL:
            text = text[: _LONGEST_LABEL - 1] + "…"
        return on_one_line(text) or None
    # Without `parent` there is no run yet: whoever foresees labels asks for that of the job which has one (`LabellingJobs`).
    parents = chain_of(job) if "parent" in context else ()
    if parents:
        parent = context["parent"] if len(parents) == 1 else context["parent"][parents[0]]
        if (label := parent["label"]) is not None:
            return str(label)
    item = context.get("item")
    if not isinstance(item, str | int | float):
        return None
    text = text_of(item)
    return on_one_line(text) if 0 < len(text) <= _LONGEST_ITEM_LABEL else None


class LabellingJobs:
    """Which job's `label` tells what the items of a job are called, found out once for each; `find` gives a job by its id."""

    def __init__(self, find: Callable[[str], Job]) -> None:
        self._find = find
        self._known: dict[str, Job | None] = {}

    def of(self, job: Job) -> Job:
        """The job itself, or the nearest that it follows and that has a `label`; itself if there is none."""
        passed, found = [], job
        while found.label is None and found.id not in self._known and (parents := chain_of(found)):
            passed.append(found.id)
            found = self._find(parents[0])
        labelling = found if found.label is not None else self._known.get(found.id)
        self._known.update(dict.fromkeys(passed, labelling))
        return labelling or job
