"""Plays the sessions of a page: `python docs/record.py docs/tutorial.md` writes anew what each command prints.

A page's TOML whose first line is `# NAME.toml` is saved under that name; each `$ ` line of its `console` blocks is a command of
one bash, in the order of the page. A test plays a page as well, and compares what `settled` leaves of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_ON_A_BUSY_MACHINE = (
    ("sleep 1; kill", "until orchestrate status slow.toml 2>/dev/null | grep -q '2 running'; do sleep 0.1; done; kill"),
    ("\nsleep 2\n", "\nsleep 8\n"),
)
"""What a page says, and what is played in its place: what comes after a second at a reader's may take longer here."""

_BLOCK = re.compile(r"```(toml|console)\n(.*?)```", re.DOTALL)
_MARK = "-- next --"
_DEADLINE_SECONDS = 120

_DIFFERS = (
    (re.compile(r"\b\d{8}-\d{6}-[a-z0-9]{4}\b"), "RUN"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\bdemo-[0-9a-f]{16}\b"), "SESSION"),
    (re.compile(r"\bpid \d+"), "pid N"),
    (re.compile(r"worker \d+"), "worker N"),
    (re.compile(r"\b(\d+m )?\d+(\.\d+)?s\b"), "TAKEN"),
    (re.compile(r"0\.00\d+ USD"), "COST"),
    (re.compile(r" +"), " "),
)


def settled(output: str) -> list[str]:
    """The lines of `output` without what differs from run to run, sorted: items end in any order."""
    for pattern, word in _DIFFERS:
        output = pattern.sub(word, output)
    return sorted(line.rstrip() for line in output.splitlines())


def play(page: str, home: Path, *, is_busy: bool) -> str:
    """The page with what its commands print now, by the `orchestrate` beside this Python. `home`: an empty state folder.

    `is_busy`: the machine may be slow, and waits stand in the place of the page's short sleeps.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "ORCHESTRATE_HOME": str(home), "XDG_STATE_HOME": str(home)}
    with tempfile.TemporaryDirectory() as folder:
        script: list[str] = []
        for language, text in _BLOCK.findall(page):
            if language == "console":
                commands = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
                script += [part for command in commands for part in (command, f"echo '{_MARK}'")]
            elif (name := re.match(r"# (\S+\.toml)\n", text)) is not None:
                script.append(f"cat > {name[1]} <<'END OF FILE'\n{text}END OF FILE")
        played = "\n".join(script)
        for told, steady in _ON_A_BUSY_MACHINE if is_busy else ():
            played = played.replace(told, steady)
        done = subprocess.run(
            ["bash", "-c", played],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_DEADLINE_SECONDS,
            check=False,
        )
    # What bash says of a command that was killed in the background depends on when it looks.
    told = re.sub(r"^bash: line \d+: .*\n", "", done.stdout.decode(), flags=re.MULTILINE)
    printed = iter(told.replace(os.path.realpath(folder), "…").split(f"{_MARK}\n"))

    def block(found: re.Match[str]) -> str:
        if found[1] != "console":
            return found[0]
        commands = [line for line in found[2].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"{command}\n{next(printed)}" for command in commands) + "```"

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as home:
            path = Path(argument)
            path.write_text(play(path.read_text("utf-8"), Path(home), is_busy=False), "utf-8")
