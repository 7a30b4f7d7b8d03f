"""What is followed of an agent's streams, and what is kept of them: no process, one folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from drivers.fake_agents import claude_reading

from orchestrator.workers.agents import watch as agent_watch
from orchestrator.workers.agents.report import answer_of, spent_since, used_since
from orchestrator.workers.agents.stream import AgentStream
from orchestrator.workers.agents.watch import AgentWatch, FollowedFile
from orchestrator.workers.attempt_end import AttemptEnd
from orchestrator.workers.check_output import KEPT_BYTES, CheckOutput
from orchestrator.workers.files.capture import CaptureFile, keep_bytes
from orchestrator.workers.protocol import EMPTY_CAPTURE, AgentTask, AttemptClass, EndReason, Usage
from orchestrator.workers.protocol.reading import LineRule

INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"m"}\n'
SUCCESS = b'{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s-1"}\n'
TASK = b'{"type":"system","subtype":"task_%b","task_id":"t-1"}\n'


@pytest.fixture
def capture(tmp_path: Path) -> Iterator[CaptureFile]:
    made = CaptureFile(str(tmp_path / "stdout"))
    made.open()
    yield made
    made.forget()


def write(capture: CaptureFile, data: bytes) -> None:
    with open(capture.path, "ab", buffering=0) as file:
        file.write(data)


class TestFollowing:
    def test_every_byte_is_read_once_and_in_order(self, capture: CaptureFile) -> None:
        heard: list[bytes] = []
        followed = FollowedFile(capture, heard.append)
        for part in (b"one", b"", b"two" * 100_000, b"three"):
            write(capture, part)
            followed.read(1 << 30)
        assert b"".join(heard) == b"one" + b"two" * 100_000 + b"three"
        assert followed.read(1 << 30) == 0

    def test_one_look_reads_no_more_than_it_is_told(self, capture: CaptureFile) -> None:
        heard: list[bytes] = []
        followed = FollowedFile(capture, heard.append)
        write(capture, b"x" * 1000)
        assert (followed.read(300), followed.read(300), followed.read(1000)) == (300, 300, 400)

    def test_what_is_cut_has_been_read_before_and_what_follows_is_read_too(
        self, capture: CaptureFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent_watch, "LIVE_ROOM_BYTES", 50)
        heard: list[bytes] = []
        followed = FollowedFile(capture, heard.append)
        for number in range(40):
            write(capture, f"line {number:03}\n".encode())
            followed.cut_to(100)
        followed.read_rest()
        assert b"".join(heard) == b"".join(f"line {number:03}\n".encode() for number in range(40))
        assert (capture.size(), followed.written()) == (150, 360)
        kept = capture.take_capture(capture.path + ".kept", 100, is_sole_writer=True)
        assert (kept.is_cut, (kept.inline or b"")[:9]) == (True, b"line 000\n")
        assert b"".join(heard)[:100] == (kept.inline or b"")[:100]

    def test_of_what_is_far_ahead_only_the_end_is_read(self, capture: CaptureFile, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agent_watch, "_LEFT_TO_READ_BYTES", 20)
        heard: list[bytes] = []
        followed = FollowedFile(capture, heard.append)
        write(capture, b"beg")
        followed.read_rest(0.0)
        assert not followed.has_skipped
        write(capture, b"in\n" + b"x" * 100_000 + b"\nend\n")
        followed.read_rest(0.0)
        assert followed.has_skipped
        assert b"".join(heard) == b"beg\n" + b"x" * 15 + b"\nend\n"


class TestLooking:
    @pytest.fixture
    def stderr(self, tmp_path: Path) -> Iterator[CaptureFile]:
        made = CaptureFile(str(tmp_path / "stderr"))
        made.open()
        yield made
        made.forget()

    def watch(self, capture: CaptureFile, stderr: CaptureFile, **task: object) -> tuple[AgentWatch, list[str]]:
        sessions: list[str] = []
        fields = {"agent": "fake", "reading": claude_reading(), "text_path": "/nowhere"} | task
        return AgentWatch(msgspec.convert(fields, AgentTask, strict=False), capture, stderr, sessions.append), sessions

    def test_a_session_is_told_once_and_a_known_one_never(self, capture: CaptureFile, stderr: CaptureFile) -> None:
        watch, sessions = self.watch(capture, stderr)
        for _ in range(3):
            write(capture, INIT)
            assert watch.look_at_streams() is None
        assert sessions == ["s-1"]
        known, sessions = self.watch(capture, stderr, session_id="s-1")
        known.look_at_streams()
        assert sessions == []

    def test_it_looks_rarely_where_nothing_comes_and_at_once_where_more_stands_there(
        self, capture: CaptureFile, stderr: CaptureFile
    ) -> None:
        watch, _ = self.watch(capture, stderr)
        for _ in range(10):
            watch.look_at_streams()
        idle = watch.pause_seconds()
        write(capture, INIT)
        watch.look_at_streams()
        growing = watch.pause_seconds()
        write(capture, b"x" * (3 << 20))
        watch.look_at_streams()
        assert idle > growing > watch.pause_seconds() == 0

    def test_the_grace_begins_with_the_end_that_it_tells(
        self, capture: CaptureFile, stderr: CaptureFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr("orchestrator.workers.agents.watch.time.monotonic", lambda: now)
        watch, _ = self.watch(capture, stderr, exit_grace_seconds=5.0)
        write(capture, INIT)
        assert (watch.look_at_streams(), watch.has_told_its_end()) == (None, False)
        now += 100
        write(capture, SUCCESS)
        assert (watch.look_at_streams(), watch.has_told_its_end()) == (None, True)
        now += 4.9
        assert watch.look_at_streams() is None
        now += 0.2
        assert watch.look_at_streams() is EndReason.LINGERING

    def test_one_that_waits_for_its_tasks_is_not_ended_while_it_tells_of_them_or_works_on_what_they_came_to(
        self, capture: CaptureFile, stderr: CaptureFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr("orchestrator.workers.agents.watch.time.monotonic", lambda: now)
        watch, _ = self.watch(capture, stderr, exit_grace_seconds=10.0, task_grace_seconds=600.0)

        def tell(line: bytes, after: float) -> tuple[EndReason | None, bool]:
            nonlocal now
            now += after
            write(capture, line)
            return watch.look_at_streams(), watch.has_told_its_end()

        write(capture, INIT + TASK % b"started")
        for line, after in [
            (SUCCESS, 0),  # "I wait for my task": an end that is asked for here is no success
            (TASK % b"progress", 500),
            (b"", 24),
            (TASK % b'notification","status":"completed', 24),
            (b"", 60),  # the model thinks of what the task came to
            (INIT, 0),
            (b"", 1000),  # its patience is that of any turn
        ]:
            assert tell(line, after) == (None, False), line
        assert tell(SUCCESS, 0) == (None, True)
        assert tell(b'{"type":"system","subtype":"hook_response"}\n', 9) == (None, True)
        assert tell(b"", 9) == (None, True), "counted from the last event"
        assert tell(b"", 2) == (EndReason.LINGERING, True)

    def test_a_task_of_which_nothing_more_is_heard_is_not_waited_for_for_ever(
        self, capture: CaptureFile, stderr: CaptureFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 1000.0
        monkeypatch.setattr("orchestrator.workers.agents.watch.time.monotonic", lambda: now)
        watch, _ = self.watch(capture, stderr, task_grace_seconds=600.0)
        write(capture, INIT + TASK % b"started" + SUCCESS)
        assert watch.look_at_streams() is None
        now += 601
        assert watch.look_at_streams() is EndReason.LINGERING
        end, _ = watch.classify_end(AttemptEnd(AttemptClass.AGENT_FAILED, "", None, 15, EndReason.LINGERING))
        assert (end.attempt_class, end.message) == (
            AttemptClass.STALLED,
            "waited for 1 of its tasks, which told nothing more, and was ended",
        )

    def test_a_success_behind_which_events_come_without_end_is_ended_and_stays_one(
        self, capture: CaptureFile, stderr: CaptureFile
    ) -> None:
        watch, _ = self.watch(capture, stderr, max_events=100)
        write(capture, INIT + SUCCESS + b'{"type":"tick"}\n' * 100)
        assert watch.look_at_streams() is EndReason.EVENTS
        assert watch.has_told_its_end(), "so it is ended as one that lingers"

    def test_what_was_not_read_may_have_been_an_error(
        self, capture: CaptureFile, stderr: CaptureFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent_watch, "_PATIENCE_SECONDS", 0.0)
        monkeypatch.setattr(agent_watch, "_LEFT_TO_READ_BYTES", 1000)
        watch, _ = self.watch(capture, stderr)
        write(capture, INIT * 100 + SUCCESS)
        end, told = watch.classify_end(AttemptEnd(AttemptClass.OK, "", 0))
        assert (told.attempt_class, end.attempt_class) == (AttemptClass.OK, AttemptClass.PROTOCOL_ERROR)

    def test_stderr_is_followed_where_its_lines_say_something(self, capture: CaptureFile, stderr: CaptureFile) -> None:
        rule = LineRule(pattern="^Error: bad key", stream="stderr", means="retry", class_name="auth")
        watch, _ = self.watch(capture, stderr, reading=msgspec.structs.replace(claude_reading(), lines=[rule]))
        write(stderr, b"Error: bad key\n")
        assert watch.look_at_streams() is EndReason.FINDING


class TestCheckOutput:
    @pytest.fixture
    def output(self, tmp_path: Path) -> Iterator[CheckOutput]:
        made = CheckOutput(str(tmp_path / "check"))
        made.open()
        yield made
        made.forget()

    def kept(self, output: CheckOutput, limit: int = 1 << 30) -> bytes:
        return Path(output.take_capture(output.path + ".kept", limit, is_sole_writer=True).path or "").read_bytes()

    def test_a_short_one_is_kept_whole(self, output: CheckOutput) -> None:
        write(output, b"a\nb\n")
        assert self.kept(output) == b"a\nb\n"

    def test_disk_stays_bounded_while_it_runs_and_the_end_is_kept(self, output: CheckOutput) -> None:
        lines = [b"%07d\n" % number for number in range(100_000)]
        for begin in range(0, len(lines), 1000):
            write(output, b"".join(lines[begin : begin + 1000]))
            output.cut_to(2 * KEPT_BYTES)
            assert output.size() <= 2 * KEPT_BYTES
        kept = self.kept(output).split(b"\n", 1)
        assert kept[0] == b"[orchestrate: only the last %d bytes are kept]" % len(kept[1])
        assert b"".join(lines).endswith(kept[1])
        assert kept[1].startswith(b"00"), "whole lines"

    def test_one_long_line_is_better_than_nothing(self, output: CheckOutput) -> None:
        write(output, b"x" * (KEPT_BYTES + 10))
        assert self.kept(output).split(b"\n", 1)[1] == b"x" * KEPT_BYTES

    def test_max_output_bounds_it_too(self, output: CheckOutput) -> None:
        write(output, b"first\nsecond\nthird\n")
        assert self.kept(output, limit=10) == b"[orchestrate: only the last 6 bytes are kept]\nthird\n"


class TestReport:
    @pytest.mark.parametrize(
        ("before", "told", "since"),
        [(None, 0.5, 0.5), (0.5, None, None), (0.5, 0.75, 0.25), (0.5, 0.25, 0.25), (0.5, 0.5, 0.0), (None, None, None)],
    )
    def test_what_was_spent_since_a_sum(self, before: float | None, told: float | None, since: float | None) -> None:
        assert spent_since(before, told) == since

    def test_what_was_used_since_sums(self) -> None:
        before = Usage(input_tokens=10, output_tokens=5)
        assert used_since(before, Usage(input_tokens=30, output_tokens=6, cache_read_tokens=7)) == Usage(
            input_tokens=20, output_tokens=1, cache_read_tokens=7
        )
        assert used_since(before, Usage(input_tokens=9, output_tokens=6)) == Usage(input_tokens=9, output_tokens=6)
        assert used_since(before, None) is None

    def test_half_a_character_in_an_answer_does_no_harm(self) -> None:
        stream = AgentStream(claude_reading(), lambda: 0.0)
        stream.feed(SUCCESS.replace(b"done", b"\\ud83d"))
        told = stream.classify(exit_code=0, signal=None, ended_by=None, stderr=b"")
        assert answer_of(told) == b"?"

    def test_an_answer_is_kept_where_no_folder_is_yet(self, tmp_path: Path) -> None:
        kept = keep_bytes(b"answer", str(tmp_path / "text"), str(tmp_path / "outputs/job/0/0-1.answer"))
        assert (kept.inline, Path(kept.path or "").read_bytes()) == (b"answer", b"answer")
        assert keep_bytes(b"", str(tmp_path / "text"), str(tmp_path / "none")) == EMPTY_CAPTURE
        assert not (tmp_path / "text").exists()
