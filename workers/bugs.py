"""A bug of ours that shows while an attempt is judged: a line for people, and the traceback for supervisor.log.

The attempt has ended, and its outcome must not be lost with the worker: the bug is told in it.
"""

from __future__ import annotations

_LONGEST_WORDS = 200
_LONGEST_TRACEBACK = 8000


def bug_in_words(what: str, error: Exception) -> str:
    """One line. `what`: of which nothing is known now, for it could not be judged."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_WORDS]
    return f"{what} could not be judged: our bug ({said}); its traceback is in supervisor.log"


def traceback_of(error: Exception) -> str:
    """The end of it, where it is long."""
    import traceback  # Hardly ever needed.

    return "".join(traceback.format_exception(error))[-_LONGEST_TRACEBACK:]
