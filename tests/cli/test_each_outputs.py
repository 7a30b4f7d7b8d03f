"""What `each` prints while its run goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.each_outputs import Outputs
from orchestrator.store.run_dir import RunDir
from orchestrator.views.happenings import ItemEnded, RunBegan


class Story:
    """A run of `each` whose items print what a test says."""

    def __init__(self, home: Path, *, in_order: bool = True, is_tagged: bool = False) -> None:
        self._run_dir = RunDir.of(home, "r")
        self._outputs = Outputs(home, in_order=in_order, is_tagged=is_tagged, is_agent=False)
        self.finish = self._outputs.finish
        self._outputs.hear(RunBegan(run_id="r", name="each", jobs=["each"], slots=2, at=0.0, is_resumed=False))

    def end(self, index: int, printed: str, attempt: int = 1) -> None:
        path = Path(self._run_dir.output_paths("each", index, attempt)[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        if printed:
            path.write_text(printed)
        self._outputs.hear(
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
        story.finish()
