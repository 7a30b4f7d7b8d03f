"""What `each` prints while its run goes on."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from drivers.views_story import finished

from orchestrator.cli.each_outputs import Outputs, Printing
from orchestrator.cli.each_running import RunningOutputs
from orchestrator.store.run_dir import RunDir
from orchestrator.views.happenings import ItemEnded, RunBegan


class Story:
    """A run of `each` whose items print what a test says."""

    def __init__(self, home: Path, **printing: Any) -> None:
        self._run_dir = RunDir.of(home, "r")
        self.outputs = Outputs(home, Printing(**printing))
        self.outputs.hear(RunBegan(run_id="r", name="each", jobs=["each"], slots=2, at=0.0, is_resumed=False))

    def end(self, index: int, printed: str, attempt: int = 1) -> None:
        path = Path(self._run_dir.output_paths("each", index, attempt)[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        if printed:
            path.write_text(printed)
        self.outputs.hear(
            ItemEnded(
                item=f"each:{index}",
                job="each",
                label=f"item {index}",
                status="succeeded",
                attempts=attempt,
                message="",
                duration_s=0.1,
                exit_code=0,
                at=1.0,
            )
        )


def test_an_output_is_printed_as_soon_as_those_before_it_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    story = Story(tmp_path)
    story.end(2, "c\n")
    story.end(1, "")
    assert capfd.readouterr().out == ""
    story.end(0, "a\n")
    assert capfd.readouterr().out == "a\nc\n"
    story.end(3, "d\n", attempt=2)
    assert capfd.readouterr().out == "d\n"


def test_outputs_as_done_come_whole_as_items_end_and_a_tag_begins_each_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    story = Story(tmp_path, in_order=False, is_tagged=True)
    story.end(1, "b\r1\n\nno end")
    assert capfd.readouterr().out == "item 1\tb\r1\nitem 1\t\nitem 1\tno end\n"
    story.end(0, "a\n")
    assert capfd.readouterr().out == "item 0\ta\n"


def test_a_reader_that_has_enough_ends_nothing_but_the_printing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_data: bytes) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("orchestrator.cli.each_outputs.write_raw", gone)
    story = Story(tmp_path)
    story.end(0, "a\n")
    story.end(1, "b\n")
    with pytest.raises(BrokenPipeError):
        story.outputs.finish()


def test_results_are_files_by_the_numbers_of_items_too(tmp_path: Path) -> None:
    story = Story(tmp_path, folder=str(tmp_path / "out" / "r"))
    story.end(1, "b\n")
    story.end(0, "a\n")
    assert [(tmp_path / "out" / "r" / number / "stdout").read_text() for number in ("1", "2")] == ["a\n", "b\n"]


def test_lines_of_running_items_come_as_they_are_whole_and_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Running:
        """In the place of the worker's file."""

        items = (0,)

        def __init__(self) -> None:
            self.lines = iter([b"a1\n", b"", b"a2\n"])

        def new_lines(self, _index: int) -> bytes:
            return next(self.lines)

        def end(self, _index: int) -> int:
            return len("a1\na2\n")

    story = Story(tmp_path, by_line=True, is_tagged=True)
    story.outputs._labels[0] = "each:0"
    story.outputs._running = Running()  # type: ignore[assignment]
    seen = [(story.outputs.refresh(0.0), capfd.readouterr().out)[1] for _ in range(3)]
    story.end(0, "a1\na2\nend")
    assert [*seen, capfd.readouterr().out] == ["each:0\ta1\n", "", "each:0\ta2\n", "item 0\tend\n"]


def test_an_answer_that_is_told_before_it_is_recorded_is_printed_in_its_turn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: set[int] = set()
    story = Story(tmp_path, is_agent=True)
    monkeypatch.setattr(story.outputs, "_is_recorded", lambda index, _attempts: index in recorded)
    monkeypatch.setattr(story.outputs, "_answer", lambda index: io.BytesIO(b"answer %d\n" % index))
    story.end(0, "")
    recorded.add(1)
    story.end(1, "")
    assert capfd.readouterr().out == ""
    recorded.add(0)
    story.outputs.refresh(0.0)
    assert capfd.readouterr().out == "answer 0\nanswer 1\n"
    # An answer that was recorded last comes before a view says how the run ended.
    story.end(2, "")
    recorded.add(2)
    story.outputs.hear(finished(succeeded=3))
    assert capfd.readouterr().out == "answer 2\n"


def test_a_file_that_may_be_the_next_attempts_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, runs = tmp_path / "stdout", [False, True]
    path.write_bytes(b"a\nb")
    reader = SimpleNamespace(run_dir=None, history=SimpleNamespace(open_starts={("each", 3): "start"}))
    monkeypatch.setattr("orchestrator.cli.each_running.open_live_output", lambda *_: path.open("rb"))
    monkeypatch.setattr("orchestrator.cli.each_running.runs_now", lambda *_: runs.pop(0))
    running = RunningOutputs(lambda: reader)  # type: ignore[arg-type, return-value]
    running.begin(3)
    assert running.new_lines(3) == b""
    assert running.new_lines(3) == b"a\n"
    # Renamed when it ends, it is the same file.
    with path.rename(tmp_path / "3-1.stdout").open("ab") as file:
        file.write(b"\nc\n")
    path.write_bytes(b"another's\n")
    assert running.new_lines(3) == b"b\nc\n"
    assert running.end(3) == len(b"a\nb\nc\n")


def test_behind_a_live_view_all_is_printed_at_the_end(tmp_path: Path, home: Path) -> None:
    at_terminal = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", sys.executable, "-m", "orchestrator"]
    told = subprocess.run(
        [*at_terminal, "each", "--home", str(home), "-j1", "--progress", "always", "echo", ":::", "said a", "said b"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.endswith(b"said a\r\nsaid b\r\n")
