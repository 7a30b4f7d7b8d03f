"""Labels: what people call an item, on one line and without anything that a terminal would act on."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from orchestrator.attempts.template_texts import rendered_text
from orchestrator.jobsfile.language.values import text_of
from orchestrator.jobsfile.model import Job

_LONGEST_ITEM_LABEL = 80
_LONGEST_LABEL = 200
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that would break a line or not be seen in it."""


def item_label(job: Job, context: Mapping[str, Any]) -> str | None:
    """One line by which people know the item: `label`, else the item itself if it is short and no list. Raises ItemRefused."""
    if job.label is not None:
        text = rendered_text(job.label, context, "label")
        if len(text) > _LONGEST_LABEL:
            text = text[: _LONGEST_LABEL - 1] + "…"
        return _on_one_line(text) or None
    item = context.get("item")
    if not isinstance(item, str | int | float):
        return None
    text = text_of(item)
    return _on_one_line(text) if 0 < len(text) <= _LONGEST_ITEM_LABEL else None


def _on_one_line(text: str) -> str:
    """`text` with the characters escaped that a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSEEN else character
        for character in text
    )
