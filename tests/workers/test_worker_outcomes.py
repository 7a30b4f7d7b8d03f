"""What an attempt comes to: classes, words, what the agent is given."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.processes import sees_open_files
from drivers.worker_driver import WorkerDriver
from msgspec import structs

from orchestrator.workers.files.creates import fingerprint
from orchestrator.workers.processes.spawn import LOCK_DESCRIPTORS_FROM
from orchestrator.workers.protocol import AttemptClass, Begun, Creates, Ended, MadeNote, Outcome, Spawned

CANNOT_START = AttemptClass.CANNOT_START


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerDriver]:
    monkeypatch.setenv("INHERITED", "from the supervisor")
    monkeypatch.setenv("ORCHESTRATE_FAULT", "journal.written")
    driver = WorkerDriver(tmp_path)
    yield driver
    driver.close()


def test_one_worker_runs_one_attempt_after_another(worker: WorkerDriver) -> None:
    outcomes = [worker.run("true"), worker.run("false"), worker.run("true")]
    assert [outcome.exit_code for outcome in outcomes] == [0, 1, 0]
    assert [outcome.attempt_class for outcome in outcomes] == [AttemptClass.OK, AttemptClass.COMMAND_FAILED, AttemptClass.OK]
    assert worker.logged_outcomes() == dict(enumerate(outcomes))


@pytest.mark.parametrize(
    ("script", "exit_code", "number", "message"),
    [
        ("exit 0", 0, None, ""),
        ("exit 3", 3, None, "exit code 3"),
        ("kill -SEGV $$", None, signal.SIGSEGV, "ended by SIGSEGV"),
        ("kill -KILL $$", None, signal.SIGKILL, "ended by SIGKILL"),
        ("kill -40 $$", None, 40, "ended by signal 40"),
    ],
)
def test_the_end_of_the_main_process_is_told(
    worker: WorkerDriver, script: str, exit_code: int | None, number: int | None, message: str
) -> None:
    outcome = worker.shell(script)
    assert (outcome.exit_code, outcome.signal, outcome.message) == (exit_code, number, message)
    assert outcome.attempt_class is (AttemptClass.OK if exit_code == 0 else AttemptClass.COMMAND_FAILED)


def test_a_plain_command_comes_to_what_it_comes_to_step_by_step(worker: WorkerDriver) -> None:
    """Most commands go a shorter way through the worker; one with a `stall_timeout` goes the long one."""
    scripts = ["exit 0", "echo words", "echo words >&2; exit 3", "kill -SEGV $$", "sleep 60 & echo $! >/dev/null"]
    for script in scripts:
        plain, general = worker.shell(script), worker.shell(script, stall_timeout_seconds=60.0)
        assert as_told(plain) == as_told(general)
    lines = worker.log()
    assert [type(line) for line in lines] == [Begun, Spawned, Ended] * (2 * len(scripts))
    assert [line.sequence for line in lines] == [number for number in range(2 * len(scripts)) for _ in range(3)]


def as_told(outcome: Outcome) -> dict[str, object]:
    """All of it but what no two attempts have in common."""
    assert outcome.cpu_seconds > 0
    assert outcome.max_rss_bytes > 1 << 18
    told = {name: value for name, value in structs.asdict(outcome).items() if name not in NEVER_THE_SAME}
    return told | {name: (told[name].size, told[name].inline) for name in ("stdout", "stderr")}


NEVER_THE_SAME = ("started_at", "finished_at", "duration_seconds", "cpu_seconds", "max_rss_bytes")

TICK_SECONDS = 0.1
"""More than the kernel rounds the time of a process by."""


def test_cpu_time_and_times_are_told(worker: WorkerDriver) -> None:
    spend = "import time\nwhile time.process_time() < 0.2: pass\nprint(time.process_time())"
    outcome = worker.run(sys.executable, "-S", "-c", spend)
    spent = float(outcome.stdout.inline or b"")
    assert 0.2 <= spent <= outcome.cpu_seconds
    assert outcome.cpu_seconds <= outcome.duration_seconds + TICK_SECONDS, "one thread, of this attempt alone"
    assert outcome.finished_at > outcome.started_at
    assert outcome.max_rss_bytes > 1 << 20


def test_a_missing_command_is_named(worker: WorkerDriver) -> None:
    outcome = worker.run("no-such-command")
    assert (outcome.attempt_class, outcome.message) == (CANNOT_START, "command not found: no-such-command")
    assert outcome.exit_code is None


def test_a_missing_path_is_named(worker: WorkerDriver) -> None:
    assert worker.run("./missing").message == "command not found: ./missing"


def test_an_empty_command_is_told(worker: WorkerDriver) -> None:
    assert (worker.run("").attempt_class, worker.run().attempt_class) == (CANNOT_START, CANNOT_START)


def test_a_missing_interpreter_is_told_apart_from_a_missing_command(worker: WorkerDriver) -> None:
    make_program(worker.root / "script", "#!/no/such/interpreter\n")
    outcome = worker.run("./script")
    assert (outcome.attempt_class, "interpreter" in outcome.message) == (CANNOT_START, True)
    outcome = worker.run("script", env={"PATH": str(worker.root)})
    assert (outcome.attempt_class, "interpreter" in outcome.message) == (CANNOT_START, True)


def test_a_program_without_a_first_line_is_told(worker: WorkerDriver) -> None:
    make_program(worker.root / "script", "echo hi\n")
    outcome = worker.run("./script")
    assert (outcome.attempt_class, "#!" in outcome.message) == (CANNOT_START, True)


def test_a_file_that_may_not_be_executed_is_told(worker: WorkerDriver) -> None:
    (worker.root / "data").write_text("x")
    outcome = worker.run("./data")
    assert (outcome.attempt_class, outcome.message) == (CANNOT_START, "permission denied: ./data")
    assert worker.run("data", env={"PATH": str(worker.root)}).message == "permission denied: data"


def test_a_folder_on_the_path_does_not_hide_a_program(worker: WorkerDriver) -> None:
    (worker.root / "first" / "tool").mkdir(parents=True)
    (worker.root / "second").mkdir()
    make_program(worker.root / "second" / "tool", "#!/bin/sh\nexit 7\n")
    assert worker.run("tool", env={"PATH": f"{worker.root}/first:{worker.root}/second"}).exit_code == 7


def test_the_path_of_the_item_is_searched_relative_to_its_folder(worker: WorkerDriver) -> None:
    (worker.root / "bin").mkdir()
    make_program(worker.root / "bin" / "tool", "#!/bin/sh\nexit 5\n")
    assert worker.run("tool", env={"PATH": "bin:/usr/bin:/bin"}).exit_code == 5


def test_an_agent_is_not_started_from_the_folder_that_it_works_in(worker: WorkerDriver) -> None:
    """The attempt before may have put it there, to be started outside of its sandbox."""
    (worker.root / "bin").mkdir()
    for place in (worker.root, worker.root / "bin"):
        make_program(place / "tool", "#!/bin/sh\nexit 5\n")
    outcome = worker.run("tool", env={"PATH": "bin::/usr/bin:/bin"}, env_allowed=[])
    assert (outcome.attempt_class, outcome.message) == (CANNOT_START, "command not found: tool")


def test_a_missing_working_folder_is_named(worker: WorkerDriver) -> None:
    outcome = worker.run("true", cwd=str(worker.root / "gone"))
    assert outcome.attempt_class is CANNOT_START
    assert outcome.message == f"cwd {worker.root}/gone: No such file or directory"
    assert worker.run("true").attempt_class is AttemptClass.OK


def test_a_zero_byte_in_an_argument_is_an_outcome_not_a_crash(worker: WorkerDriver) -> None:
    assert worker.run("echo", "a\0b").attempt_class is CANNOT_START
    assert worker.run("true", cwd="/a\0b").attempt_class is CANNOT_START
    assert worker.run("true", env={"A": "a\0b"}).attempt_class is CANNOT_START


def test_an_argument_of_130_kilobytes_arrives_byte_for_byte(worker: WorkerDriver) -> None:
    value = "'\"$(x)\n\u00e4" * 14_000
    value = value.encode()[:130_000].decode(errors="ignore")
    outcome = worker.run("printf", "%s", value)
    assert (outcome.stdout.path, outcome.stdout.size) == (str(worker.root / "outputs/job/0/0-1.stdout"), len(value.encode()))
    assert Path(outcome.stdout.path or "").read_text() == value


def test_an_argument_beyond_the_limit_names_stdin(worker: WorkerDriver) -> None:
    outcome = worker.run("true", "x" * 200_000)
    assert (outcome.attempt_class, "`stdin`" in outcome.message) == (CANNOT_START, True)


def test_stdin_is_at_its_end_by_default(worker: WorkerDriver) -> None:
    assert worker.shell("cat; echo end").stdout.inline == b"end\n"


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_stdin_gives_its_text_and_ends(worker: WorkerDriver, size: int) -> None:
    outcome = worker.run("wc", "-c", stdin="x" * size)
    assert int(outcome.stdout.inline or b"") == size
    assert worker.shell("cat").stdout.size == 0, "the next attempt must not see it"


def test_a_script_goes_by_file(worker: WorkerDriver) -> None:
    script = "echo one\n" + "# filler\n" * 30_000 + "echo $0 >&2; exit 4\n"
    outcome = worker.run("/bin/sh", script=script)
    assert (outcome.exit_code, outcome.stdout.inline) == (4, b"one\n")
    assert outcome.stderr.inline == f"{worker.folder}/script\n".encode()


def test_the_environment_is_the_workers_with_the_items_changes(worker: WorkerDriver) -> None:
    outcome = worker.run("env", env={"ADDED": "1 = \u00fc", "INHERITED": None, "ABSENT": None})
    seen = dict(line.split("=", 1) for line in (outcome.stdout.inline or b"").decode().splitlines())
    assert seen["ADDED"] == "1 = \u00fc"
    assert seen["ORCHESTRATE_MARK"] == worker.mark
    assert seen["PATH"] == os.environ["PATH"]
    assert "INHERITED" not in seen
    assert not [name for name in seen if name.endswith("FAULT")]
    assert b"INHERITED=from the supervisor\n" in (worker.run("env").stdout.inline or b"")


def test_the_agent_leads_its_own_session_in_its_folder(worker: WorkerDriver) -> None:
    (worker.root / "inside").mkdir()
    code = "import os; print(os.getsid(0) == os.getpid(), os.getcwd())"
    outcome = worker.run(sys.executable, "-c", code, cwd=str(worker.root / "inside"))
    assert outcome.stdout.inline == f"True {worker.root}/inside\n".encode()


def test_no_signal_is_ignored_or_blocked(worker: WorkerDriver) -> None:
    outcome = worker.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    masks = [int(line.split()[1], 16) for line in (outcome.stdout.inline or b"").splitlines()]
    internal = 1 << 31 | 1 << 32  # glibc's own two: posix_spawn leaves them ignored, and no program may use them
    assert [mask & ~internal for mask in masks] == [0, 0]


def test_a_reader_that_closes_ends_a_writer_with_sigpipe(worker: WorkerDriver) -> None:
    outcome = worker.run("bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]}")
    assert outcome.stdout.inline == b"y\n141\n"


def test_the_agent_inherits_its_streams_and_what_carries_its_locks_and_nothing_else(worker: WorkerDriver) -> None:
    locks = [worker.lock(worker.root / name) for name in ("slot", "pool")]
    outcome = worker.shell(f"ls /proc/$$/fd; readlink /proc/$$/fd/{LOCK_DESCRIPTORS_FROM}; true", locks=locks)
    seen = (outcome.stdout.inline or b"").decode().split()
    assert sorted(seen[:-1]) == ["0", "1", "2", str(LOCK_DESCRIPTORS_FROM)]
    assert seen[-1].startswith("socket:"), "no copy of a lock's descriptor: it could be unlocked for all"
    for lock in locks:
        os.close(lock)


@sees_open_files
def test_no_descriptor_is_left_open_in_the_worker(worker: WorkerDriver) -> None:
    def after_everything() -> tuple[str, ...]:
        lock = worker.lock(worker.root / "slot")
        worker.shell("echo out; echo err >&2", locks=[lock], stdin="text", script="true")
        worker.run("missing", locks=[lock])
        worker.run("true", cwd="/missing", stdin="text")
        os.close(lock)
        return tuple(sorted(os.listdir(f"/proc/{worker.pid}/fd")))

    assert len({after_everything() for _ in range(5)}) == 1


class TestCreates:
    def test_the_file_gets_its_name_only_after_success(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        outcome = worker.shell("echo half > .new; test ! -e file; exit 0", creates=[promised])
        assert outcome.attempt_class is AttemptClass.OK
        assert Path(promised.final).read_text() == "half\n"
        assert not Path(promised.temporary).exists()

    def test_what_a_failure_had_made_is_set_aside_each_time_and_told(self, worker: WorkerDriver) -> None:
        """`convert && rm source`, and then something fails: what was made may be all that there is."""
        promised = Creates(temporary=f"{worker.root}/.new.gz", final=f"{worker.root}/file.gz")
        for number, said in ((1, "first"), (2, "second")):
            outcome = worker.shell(f"echo {said} > .new.gz; exit 9", creates=[promised])
            assert (outcome.attempt_class, outcome.exit_code) == (AttemptClass.COMMAND_FAILED, 9)
            assert outcome.message == f"exit code 9 (what it had made is kept as {worker.root}/.kept-{number}.new.gz)"
        assert outcome.unproven == "", "nothing stands at the final name"
        assert {path.name: path.read_text() for path in worker.root.glob(".*.gz")} == {
            ".kept-1.new.gz": "first\n",
            ".kept-2.new.gz": "second\n",
        }
        assert not Path(promised.final).exists()

    def test_of_several_files_all_are_made_or_none_takes_its_name(self, worker: WorkerDriver) -> None:
        root = worker.root
        promised = [Creates(temporary=f"{root}/{folder}/.new", final=f"{root}/{folder}/file") for folder in ("one", "two")]
        half = worker.shell("echo half > one/.new", creates=promised)
        words = f"{root}/two/file was not created (nothing at {root}/two/.new)"
        kept = f"{root}/one/.kept-1.new"
        assert (half.attempt_class, half.message) == (
            AttemptClass.CREATES_MISSING,
            f"{words} (what it had made is kept as {kept})",
        )
        assert [Path(each.final).exists() for each in promised] == [False, False]
        # One by its temporary name, one by its own; what a failure leaves under a final name is told word by word.
        failed = worker.shell("echo half > two/file; exit 1", creates=promised)
        assert failed.unproven.split() == ["-", fingerprint(f"{root}/two/file")]
        assert worker.shell("echo a > one/.new; echo b > two/file", creates=promised).attempt_class is AttemptClass.OK
        assert [Path(each.final).read_text() for each in promised] == ["a\n", "b\n"]

    def test_a_note_of_what_a_file_is_made_of_is_there_exactly_while_that_is_known(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        path = worker.root / "made" / "ab" / "note.json"
        note = MadeNote(str(path), b"first")
        assert worker.shell("echo > .new", creates=[promised], made_note=note).attempt_class is AttemptClass.OK
        assert path.read_bytes() == b"first"
        again = MadeNote(str(path), b"second")
        assert worker.shell(f"test -e {path} || exit 7", creates=[promised], made_note=again).exit_code == 7
        assert not path.exists()

    def test_what_another_run_has_noted_meanwhile_is_gone_before_a_file_takes_its_name(self, worker: WorkerDriver) -> None:
        # The file cannot take its name: a folder with something in it stands there.
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        note = worker.root / "made" / "note.json"
        made = "mkdir -p file/x made; echo > made/note.json; echo > .new"
        refused = worker.shell(made, creates=[promised], made_note=MadeNote(str(note), b"ours"))
        assert refused.attempt_class is AttemptClass.CREATES_MISSING
        assert not note.exists()

    def test_what_a_failure_had_made_empty_leaves_nothing(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        assert worker.shell("no-such-command > .new", creates=[promised]).message == "exit code 127"
        assert worker.shell("mkdir .new; exit 3", creates=[promised]).message == "exit code 3"
        assert not list(worker.root.glob("*.new"))

    def test_what_a_killed_attempt_had_made_is_set_aside_and_told_by_the_next(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        Path(promised.temporary).write_text("of one that was killed")
        outcome = worker.shell("echo whole > .new", creates=[promised])
        assert (outcome.attempt_class, Path(promised.final).read_text()) == (AttemptClass.OK, "whole\n")
        assert outcome.message == f"what an attempt before it had made is kept as {worker.root}/.kept-1.new"
        assert (worker.root / ".kept-1.new").read_text() == "of one that was killed"

    def test_a_command_that_writes_the_final_name_itself_has_created_it(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        failed = worker.shell("echo half > file; exit 1", creates=[promised])
        assert (failed.attempt_class, bool(failed.unproven)) == (AttemptClass.COMMAND_FAILED, True)
        assert failed.unproven == fingerprint(promised.final)
        # A file that it has not touched is none that it made, and one that it has is.
        same = worker.shell("test -e file", creates=[promised])
        assert same.attempt_class is AttemptClass.CREATES_MISSING
        assert "file was not created: it was there before, and has not changed" in same.message
        made = worker.shell("echo whole > file", creates=[promised])
        assert (made.attempt_class, made.message, made.unproven) == (AttemptClass.OK, "", "")
        assert Path(promised.final).read_text() == "whole\n"

    def test_a_folder_is_another_once_anything_in_it_is(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/folder")
        failed = worker.shell("mkdir -p folder/deep; echo half > folder/deep/a; exit 1", creates=[promised])
        assert failed.unproven == fingerprint(promised.final) != ""
        made = worker.shell("echo whole > folder/deep/a", creates=[promised])
        assert made.attempt_class is AttemptClass.OK, made

    def test_a_success_without_the_file_is_a_failure(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        outcome = worker.run("true", creates=[promised])
        assert (outcome.attempt_class, outcome.exit_code) == (AttemptClass.CREATES_MISSING, 0)
        assert "file was not created" in outcome.message

    def test_what_an_earlier_attempt_left_is_no_success(self, worker: WorkerDriver) -> None:
        (worker.root / ".new" / "deep").mkdir(parents=True)
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        assert worker.run("true", creates=[promised]).attempt_class is AttemptClass.CREATES_MISSING

    def test_a_folder_may_be_promised(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/folder")
        outcome = worker.shell(
            "mkdir -p .new/deep; echo a > .new/deep/a; ln -s nowhere .new/link; mkfifo .new/pipe", creates=[promised]
        )
        assert outcome.attempt_class is AttemptClass.OK
        assert (worker.root / "folder/deep/a").read_text() == "a\n"

    def test_a_folder_in_the_way_is_told(self, worker: WorkerDriver) -> None:
        (worker.root / "file" / "full").mkdir(parents=True)
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        outcome = worker.shell("echo a > .new", creates=[promised])
        assert outcome.attempt_class is AttemptClass.CREATES_MISSING
        kept = f"(what it had made is kept as {worker.root}/.kept-1.new)"
        assert outcome.message == f"{promised.final} could not be put in place: Is a directory {kept}"

    def test_what_a_leftover_would_still_write_is_ended_before_the_rename(self, worker: WorkerDriver) -> None:
        promised = Creates(temporary=f"{worker.root}/.new", final=f"{worker.root}/file")
        outcome = worker.shell("echo a > .new; (sleep 60; echo late >> .new) & exit 0", creates=[promised])
        assert (outcome.attempt_class, outcome.leftovers > 0) == (AttemptClass.OK, True)
        assert Path(promised.final).read_text() == "a\n"


def make_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
