"""What reaches a terminal passes the writers that know one: no other file of the program writes to stdout or stderr."""

from __future__ import annotations

from drivers.our_source import FILES

WRITERS = {"orchestrator.cli.output", "orchestrator.views.outlet"}

CAPTURED = {"orchestrator.demo_agent", "orchestrator.attempts.replay.player", "orchestrator.workers.life"}
"""Programs of their own, whose streams go to files of the run."""

WRITES = (
    *(f"sys.{stream}.{name}" for stream in ("stdout", "stderr") for name in ("write", "buffer")),
    *("click.echo(", "click.secho(", "os.write(1,", "os.write(2,", "/dev/tty"),
)
"""Beside `print`, of which the linter takes care."""


def test_only_the_writers_write_to_stdout_and_stderr() -> None:
    texts = {module: path.read_text("utf-8") for module, path in FILES.items()}
    found = {module for module, text in texts.items() if any(each in text for each in WRITES)}
    assert found - CAPTURED <= WRITERS
