"""`make demo`: four files, an agent each, two at once; the supervisor is killed in the middle, and the run goes on.

The agent is `demo`, which needs no key, no model and no network. What is printed is what the commands print. With `--svg FILE` it
is drawn as well, as a picture that moves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

_JOBS = """\
[jobs.port]
for_each = { glob = "*.py" }
agent = "demo"                                # claude, codex, gemini, ...
prompt = "sleep 2\\nappend {{ item }}: # ported"
permissions = "edit"
workspace = "shared"                          # the default; "worktree" gives each a branch of its own
check = "! grep -n TODO {{ item }}"           # an agent says that it is done; this says whether that is true
"""
_DEADLINE_SECONDS = 60

Line = tuple[float, str]
"""When (seconds since the beginning) it was printed, and what it says."""


class Demo:
    """The story in `folder`, an empty one. Each line that is printed is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = time.monotonic()
        self.lines: list[Line] = []

    def tell(self) -> None:
        """Play it from the beginning to the end."""
        for name in "abcd":
            (self._folder / f"{name}.py").write_text(f"{name} = 1\n")
        (self._folder / "d.py").write_text("d = 1  # TODO: what is d?\n")
        (self._folder / "jobs.toml").write_text(_JOBS)
        for line in _JOBS.splitlines():
            self._say(f"  {line}")
        self._say("$ orchestrate run -k -j2 --progress lines jobs.toml")
        first = self._start("run", "-k", "-j2", "--progress", "lines", "jobs.toml")
        ended = 0
        for line in self._printed(first):
            self._say(line)
            ended += line.startswith("ok")
            if ended == 2:
                # The next two are at work by now: a crash could not come at a worse time.
                time.sleep(0.5)
                os.kill(first.pid, signal.SIGKILL)
        self._say("Killed                                        # kill -9, with agents at work")
        self._say("$ orchestrate resume --progress lines")
        for line in self._printed(self._start("resume", "--progress", "lines")):
            self._say(line)
        asked = [path.read_text().count("# ported") for path in sorted(self._folder.glob("*.py"))]
        self._say(f"{len(asked)} files, each edited once: {' '.join(map(str, asked))}")

    def _start(self, *words: str) -> subprocess.Popen[str]:
        home = self._folder / "state"
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "orchestrate"), *words],
            cwd=self._folder,
            env=os.environ | {"ORCHESTRATE_HOME": str(home), "XDG_STATE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _printed(self, process: subprocess.Popen[str]) -> Iterator[str]:
        assert process.stdout is not None
        with process.stdout:
            yield from (line.rstrip("\n") for line in process.stdout)
        process.wait(_DEADLINE_SECONDS)

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
        self.lines.append((time.monotonic() - self._began, line))


_CELL_WIDTH, _CELL_HEIGHT, _MARGIN = 8.4, 19, 14
_REST_SECONDS = 4.0
"""How long the last picture stands before the story begins again."""


def drawn(lines: list[Line]) -> str:
    """An SVG in which each line appears when it was printed, again and again."""
    total = lines[-1][0] + _REST_SECONDS
    width = round(max(len(text) for _, text in lines) * _CELL_WIDTH + 2 * _MARGIN)
    height = len(lines) * _CELL_HEIGHT + 2 * _MARGIN
    rows = []
    for number, (seconds, text) in enumerate(lines):
        share = min(seconds / total, 0.999)
        y = _MARGIN + (number + 0.75) * _CELL_HEIGHT
        rows.append(
            f'<text x="{_MARGIN}" y="{y:g}" class="{_class(text)}" xml:space="preserve">{escape(text)}'
            f'<animate attributeName="opacity" values="0;1;1" keyTimes="0;{share:.4f};1" calcMode="discrete" '
            f'dur="{total:.2f}s" repeatCount="indefinite"/></text>'
        )
    style = (
        "text{font:14px ui-monospace,Menlo,Consolas,monospace;fill:#d0d7de}"
        ".command{fill:#fff;font-weight:bold}.good{fill:#3fb950}.bad{fill:#f85149}.file{fill:#8b949e}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<style>{style}</style><rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _class(text: str) -> str:
    if text.startswith("$"):
        return "command"
    if text.startswith(("ok", "completed")):
        return "good"
    if text.startswith(("FAILED", "failed", "Killed")):
        return "bad"
    return "file" if text.startswith("  ") else "plain"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder_name:
        demo = Demo(Path(folder_name))
        demo.tell()
    if sys.argv[1:2] == ["--svg"]:
        Path(sys.argv[2]).write_text(drawn(demo.lines), "utf-8")
