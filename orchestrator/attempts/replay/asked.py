"""What an agent was asked, in a form that two runs can compare: in different places, at different times, on different machines.

Long texts are told by a hash. Places that belong to one run or machine (its folder, its id) and secrets are named, not told: else
no prompt that names a file would ever be the same again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from orchestrator.store.run_dir import RunDir
from orchestrator.system.digests import sha256_hex
from orchestrator.system.redaction import Redactor

_LONGEST = 64
"""Characters of the longest value that is told as it is: names of agents and models, numbers."""

_HASHED = frozenset({"prompt", "schema", "args"})


def places_of(run_dir: RunDir, run_id: str, folder: str) -> dict[str, str]:
    """Texts that belong to this run or machine alone -> their names. `folder`: of the run's jobs file."""
    return {str(run_dir.path): "run", str(run_dir.home): "home", folder: "folder", run_id: "run id"}


def compared(parts: Mapping[str, str], places: Mapping[str, str], redactor: Redactor) -> dict[str, str]:
    """`parts` (name -> text; empty ones are left out) with each of `places` (text -> name) named, and hashed if it is long."""
    asked = {}
    for name, text in parts.items():
        text = _named(text, places)
        text = redactor.redact_text(text)
        is_long = name in _HASHED or len(text) > _LONGEST
        if text:
            asked[name] = sha256_hex(text.encode("utf-8", "surrogatepass"))[:16] if is_long else text
    return asked


def _named(text: str, places: Mapping[str, str]) -> str:
    """Name a place only where it stands as a whole: other words may begin with the name of a run or of its folder."""
    if not (wanted := sorted(filter(None, places), key=len, reverse=True)):
        return text
    pattern = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, wanted))})(?![\w-])"
    return re.sub(pattern, lambda found: f"{{{places[found[0]]}}}", text)


def differences(recorded: Mapping[str, str], now: Mapping[str, str], *, besides: tuple[str, ...] = ()) -> list[str]:
    """In words, what is asked now and was not when it was recorded. What was recorded of nothing is not compared."""
    if not recorded:
        return []
    names = [name for name in (*now, *(name for name in recorded if name not in now)) if name not in besides]
    return [_difference(name, recorded.get(name), now.get(name)) for name in names if recorded.get(name) != now.get(name)]


def _difference(name: str, was: str | None, now: str | None) -> str:
    if name in _HASHED or len(was or "") > _LONGEST:
        return (
            f"{name if name != 'args' else 'the arguments'}: another one"
            if was and now
            else f"{name}: {'new' if now else 'gone'}"
        )
    return f"{name}: {was or 'none'} was recorded, now it is {now or 'none'}"
