"""A pattern of a profile, looked for in what an agent wrote.

A pattern may cost the square of what it is looked for in, and whoever watches an attempt does nothing else meanwhile: neither its
timeout nor a cancel would be heard. So no pattern sees more than both ends of a long text: what went wrong stands there.
"""

from __future__ import annotations

import re

END_CHARACTERS = 32 * 1024


def find(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first match in `text`; of a long one its first and last `END_CHARACTERS` count, with an ellipsis between."""
    seen = text if len(text) <= 2 * END_CHARACTERS else f"{text[:END_CHARACTERS]}…{text[-END_CHARACTERS:]}"
    return pattern.search(seen)
