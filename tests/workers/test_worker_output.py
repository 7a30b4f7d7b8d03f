"""What becomes of an attempt's output: every byte, bounded memory, a cut that says so, durable when it is large."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from drivers.sweeps import sweep
from drivers.worker_driver import WorkerDriver

from orchestrator.workers.protocol import EMPTY_CAPTURE, INLINE_OUTPUT_BYTES, AttemptClass, Capture

MIB = 1 << 20


def content(capture: Capture) -> bytes:
    assert capture.path is not None
    data = Path(capture.path).read_bytes()
    assert len(data) == capture.size
    return data


def peak_memory(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_both_streams_stand_apart(worker: WorkerDriver) -> None:
    outcome = worker.shell("echo out; echo err >&2; echo more")
    assert (outcome.stdout.inline, outcome.stderr.inline) == (b"out\nmore\n", b"err\n")
    assert (content(outcome.stdout), content(outcome.stderr)) == (b"out\nmore\n", b"err\n")


def test_no_output_leaves_no_file(worker: WorkerDriver) -> None:
    outcome = worker.run("true")
    assert (outcome.stdout, outcome.stderr) == (EMPTY_CAPTURE, EMPTY_CAPTURE)
    assert not (worker.root / "outputs").exists()


def test_each_attempt_has_only_its_own_output(worker: WorkerDriver) -> None:
    kept = [worker.shell(script) for script in ("echo 1", "true", "echo 3 >&2", "echo 4; sleep 600 &", "true", "echo 6")]
    assert [outcome.stdout.inline for outcome in kept] == [b"1\n", None, None, b"4\n", None, b"6\n"]
    assert [outcome.stderr.inline for outcome in kept] == [None, None, b"3\n", None, None, None]


@pytest.mark.parametrize("size", [1, INLINE_OUTPUT_BYTES, INLINE_OUTPUT_BYTES + 1, 200_000])
def test_bytes_are_kept_whatever_they_are(worker: WorkerDriver, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    (worker.root / "data").write_bytes(data)
    capture = worker.run("cat", "data").stdout
    assert content(capture) == data
    if size <= INLINE_OUTPUT_BYTES:
        assert (capture.inline, capture.sha256) == (data, None)
    else:
        assert (capture.inline, capture.sha256) == (None, hashlib.sha256(data).hexdigest())


def test_a_line_of_100_megabytes_costs_the_worker_no_memory(worker: WorkerDriver) -> None:
    worker.shell("head -c 5000 /dev/zero")  # what hashing costs at all
    before = peak_memory(worker.pid)
    capture = worker.shell("head -c 100000000 /dev/zero").stdout
    assert capture.size == 100_000_000
    assert capture.sha256 == hashlib.sha256(bytes(100_000_000)).hexdigest()
    assert peak_memory(worker.pid) - before < 4 * MIB


def test_a_million_lines_arrive(worker: WorkerDriver) -> None:
    capture = worker.run("seq", "1000000").stdout
    with open(capture.path or "", "rb") as file:
        assert sum(1 for _ in file) == 1_000_000


def test_output_beyond_the_limit_is_cut_with_a_mark(worker: WorkerDriver) -> None:
    outcome = worker.shell("echo first; yes | head -c 3000000", max_output_bytes=MIB)
    data = content(outcome.stdout)
    mark = b"\n[orchestrate: output cut at 1 MiB]\n"
    assert data == b"first\n" + b"y\n" * ((MIB - 6) // 2) + mark
    assert outcome.stdout.is_cut
    assert outcome.attempt_class is AttemptClass.OK


def test_output_of_just_the_limit_is_not_cut(worker: WorkerDriver) -> None:
    outcome = worker.shell("head -c 1000 /dev/zero; head -c 1001 /dev/zero >&2", max_output_bytes=1000)
    assert (outcome.stdout.size, outcome.stdout.is_cut) == (1000, False)
    assert (outcome.stderr.inline, outcome.stderr.is_cut) == (bytes(1000) + b"\n[orchestrate: output cut at 1000 bytes]\n", True)


def test_an_endless_writer_never_fills_the_disk(worker: WorkerDriver) -> None:
    # The writer itself reports when its file has been cut back, then writes on: the worker must have cut it meanwhile.
    code = """
import os
size = 0
while True:
    os.write(1, b"x" * 100_000)
    now = os.fstat(1).st_size
    if now < size:
        break
    size = now
os.write(1, b"after the cut")
"""
    outcome = worker.run(sys.executable, "-S", "-c", code, max_output_bytes=300_000)
    assert content(outcome.stdout) == b"x" * 300_000 + b"\n[orchestrate: output cut at 300000 bytes]\n"
    assert (outcome.attempt_class, outcome.stdout.is_cut) == (AttemptClass.OK, True)


def test_the_folders_of_outputs_are_the_owners_alone(worker: WorkerDriver) -> None:
    path = Path(worker.shell("echo a").stdout.path or "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent)} == {0o700}


def test_an_output_that_cannot_be_kept_is_told_with_the_exit_code(worker: WorkerDriver) -> None:
    (worker.root / "outputs").write_text("a file where the folder should be")
    outcome = worker.shell("echo a; echo b >&2; exit 3")
    assert (outcome.attempt_class, outcome.exit_code) == (AttemptClass.STATE_ERROR, 3)
    words = f"{worker.root}/outputs is no folder any more: move away what stands there"
    assert outcome.message == f"exit code 3; the output could not be kept: {words}"
    os.unlink(worker.root / "outputs")
    outcome = worker.shell("echo c")
    assert (outcome.stdout.inline, outcome.stderr) == (b"c\n", EMPTY_CAPTURE)


@pytest.mark.parametrize("size", sweep([100_000, 10], quick=1))
@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("rm -f W/std*", "the output was removed while it ran (W/stdout)"),
        ("rm -r W", "the output was removed while it ran (W/stdout)"),
        ("rm -r W; echo > W", "the output was removed while it ran (W/stdout)"),
        ("rm W/stdout; echo other > W/stdout", "the output was replaced while it ran (W/stdout)"),
        ("rm W/std*; mkfifo W/stdout; mkdir -p W/stderr/x W/script/x", "the output was replaced while it ran (W/stdout)"),
        ("rm W/std*; ln -s stdout W/stdout; ln -s /etc/passwd W/stderr", "the output was replaced while it ran (W/stdout)"),
        ("mkdir -p O; echo > O/job", "the output has no place any more: something else stands at F, or on the way to it"),
        ("mkdir -p F/x", "the output has no place any more: something else stands at F, or on the way to it"),
    ],
)
def test_what_a_command_does_to_its_own_output_is_its_failure_and_the_next_attempt_has_files_again(
    worker: WorkerDriver, deed: str, words: str, size: int
) -> None:
    places = {"W": worker.folder, "O": worker.root / "outputs", "F": worker.root / "outputs/job/0/0-1.stdout"}

    def named(text: str) -> str:
        return re.sub(r"\b[WOF]\b", lambda found: str(places[found[0]]), text)

    outcome = worker.shell(f"{named(deed)}; head -c {size} /dev/zero")
    assert (outcome.attempt_class, outcome.exit_code, outcome.message) == (AttemptClass.PROTOCOL_ERROR, 0, named(words))
    subprocess.run(["rm", "-rf", worker.root / "outputs"], check=True)
    outcome = worker.shell("echo next; echo err >&2")
    assert (outcome.stdout.inline, outcome.stderr.inline, outcome.message) == (b"next\n", b"err\n", "")


def test_a_silent_command_that_removes_its_captures_takes_nothing_from_the_next(worker: WorkerDriver) -> None:
    assert worker.shell(f"rm {worker.folder}/std*").attempt_class is AttemptClass.OK
    assert worker.shell("echo next").stdout.inline == b"next\n"
    # A failure, and an end that was asked for, stay what they are: the lost output is told besides.
    outcome = worker.shell(f"rm {worker.folder}/std*; echo gone; exit 3")
    assert (outcome.attempt_class, outcome.message.split(";")[0]) == (AttemptClass.COMMAND_FAILED, "exit code 3")
