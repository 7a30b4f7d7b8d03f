"""Words for people beside what a command shows."""

from __future__ import annotations

import sys


def tell_note(words: str) -> None:
    """Say something on stderr beside what is shown."""
    from orchestrator.system.wording import shown
    from orchestrator.views.outlet import Outlet

    Outlet(sys.stderr).line(f"note: {shown(words)}")
