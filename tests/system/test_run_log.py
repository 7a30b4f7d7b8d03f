"""supervisor.log, read by `cat` or `tail`: what others said stands in it as words, and never as an entry."""

from __future__ import annotations

from pathlib import Path

from orchestrator.system.run_log import append_log


def test_nobody_forges_an_entry_and_nothing_drives_the_terminal_of_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.log"
    append_log(path, "a:0 said: x\n2026-11-30 08:00:00 [1] all is well\x1b[2J\x9b1m\r\u202e\n\ttab \udcff")
    append_log(path, "its key is sk-ant-0123456789abcdef")
    first, forged, tabbed, last = path.read_text().splitlines()
    assert first.endswith("] a:0 said: x")
    assert forged == "  2026-11-30 08:00:00 [1] all is well\\x1b[2J\\x9b1m\\r\\u202e"
    assert tabbed == "  \ttab \\xff"
    assert last.endswith("] its key is [redacted:anthropic key]"), "nor does it hold a secret"
