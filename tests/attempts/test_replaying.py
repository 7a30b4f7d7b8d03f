"""Capsules: archives that are the same for the same contents and harmless whatever they hold; which attempt is played when."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.attempts.replay import archive as archives
from orchestrator.attempts.replay.archive import FORMAT, INDEX, Capsule, CapsuleAttempt, CapsuleWriter, sum_of, unpack
from orchestrator.attempts.replay.asked import compared, differences
from orchestrator.attempts.replay.recorded import NotRecordedError, Recorded
from orchestrator.attempts.replay.replay import as_replayed
from orchestrator.attempts.replay.started_player import started_instead, taken_over
from orchestrator.errors import UserError
from orchestrator.jobsfile.load import load_text
from orchestrator.system.redaction import Redactor
from orchestrator.workers.agents.attempt_record import AttemptRecord
from orchestrator.workers.protocol import AttemptClass, EndReason, Outcome, Start, WorkspaceTask

ASKED = {"agent": "demo", "permissions": "read", "prompt": "0123456789abcdef"}
OUTCOME = Outcome(attempt_class=AttemptClass.OK, started_at=0.0, finished_at=1.0, duration_seconds=1.0, exit_code=0)


def attempt(index: int = 0, number: int = 1, attempt_class: AttemptClass = AttemptClass.OK, **record: Any) -> CapsuleAttempt:
    told = AttemptRecord(attempt_class=attempt_class, **{"asked": ASKED, **record})
    return CapsuleAttempt(job="go", index=index, attempt=number, record=told, files=["stdout"])


def capsule(*attempts: CapsuleAttempt, version: int = FORMAT) -> Capsule:
    return Capsule(format=version, run_id="then", name="x", jobs_file="x.toml", created_at=1.0, attempts=list(attempts))


def archive(*attempts: CapsuleAttempt, version: int = FORMAT) -> bytes:
    target = io.BytesIO()
    writer = CapsuleWriter(target)
    writer.add_bytes(INDEX, msgspec.json.encode(capsule(*attempts, version=version)))
    for each in attempts:
        writer.add_bytes(f"{each.folder}/stdout", b"said\n")
    writer.close()
    return target.getvalue()


def recorded(folder: Path, *attempts: CapsuleAttempt) -> Recorded:
    (folder / INDEX).write_bytes(msgspec.json.encode(capsule(*attempts)))
    return Recorded(folder)


# The archive.


def test_what_was_archived_is_unpacked_and_the_same_contents_are_the_same_bytes(tmp_path: Path) -> None:
    assert archive(attempt()) == archive(attempt())
    (tmp_path / "a.tar.gz").write_bytes(archive(attempt()))
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "into") == capsule(attempt())
    assert (tmp_path / "into" / "attempts" / "go" / "0-1" / "stdout").read_bytes() == b"said\n"


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "attempts/go/0-1/../../../evil", "attempts/go/0-1/x\n", "other"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, content in ((INDEX, msgspec.json.encode(capsule())), (name, b"x")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(UserError, match="is no capsule: it holds"):
        unpack(path, tmp_path / "deep" / "into")
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["evil.tar.gz", INDEX]


def test_what_is_no_plain_file_is_refused_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    for kind in b"123456LKSxgXV":  # links, devices, a folder, long names, sparse files, headers of pax: 50 MB of one, say
        info = tarfile.TarInfo(INDEX)
        info.type, info.linkname, info.size = bytes([kind]), "/etc/passwd", 50 << 20
        # The header alone, as it stands: Python 3.13 adds no sparse file without its content.
        path.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(tarfile.RECORDSIZE)))
        with pytest.raises(UserError, match=r"it holds 'capsule\.json', which is no plain file"):
            unpack(path, tmp_path / "into")
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(INDEX)
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": INDEX, "comment": "x" * 10_000}
        tar.addfile(info)
    with pytest.raises(UserError, match="no plain file"):
        unpack(path, tmp_path / "into")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [("[" * 990 + "]" * 990, "nested deeper"), ("9" * 400, "out of range"), ("3", "Expected `object`, got `int`"), ("[", "JSON")],
)
def test_an_index_that_cannot_be_kept_is_told_in_words(inputs: str, words: str, tmp_path: Path) -> None:
    for key in ("inputs", "a key that nobody knows"):
        target = io.BytesIO()
        writer = CapsuleWriter(target)
        known = msgspec.json.encode(capsule()).removesuffix(b"}")
        writer.add_bytes(INDEX, known + f',"{key}":{inputs}}}'.encode())
        writer.close()
        (tmp_path / "x").write_bytes(target.getvalue())
        if key == "inputs" or "got" not in words:
            with pytest.raises(UserError, match=rf"capsule\.json: it is .*{words}"):
                unpack(tmp_path / "x", tmp_path / "into")


@pytest.mark.parametrize("data", [b"", b"no archive", archive(attempt())[:-40], archive(attempt())[:120]])
def test_what_is_no_capsule_or_half_of_one_is_told_in_words(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match="capsule"):
        unpack(tmp_path / "x", tmp_path / "into")


@pytest.mark.parametrize(
    ("bound", "most", "words"),
    [
        ("MOST_MEMBERS", 1, "it holds more than 1 files"),
        ("MOST_MEMBER_BYTES", 1 << 20, r"'attempts/go/0-1/stdout' is larger than 1 MiB"),
        ("MOST_BYTES", 1 << 20, "it becomes more than 1 MiB"),
        ("MOST_RATIO", 200, "it becomes more than 200 times as large as it is"),
    ],
)
def test_an_archive_that_would_fill_the_disk_is_refused_before_it_does(
    bound: str, most: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = io.BytesIO()
    writer = CapsuleWriter(target)
    writer.add_bytes(INDEX, msgspec.json.encode(capsule(attempt())))
    writer.add_bytes("attempts/go/0-1/stdout", b"0" * (4 << 20))
    writer.close()
    (tmp_path / "x").write_bytes(target.getvalue())
    monkeypatch.setattr(archives, bound, most)
    monkeypatch.setattr(archives, "_UNBOUNDED_BYTES", 1 << 20)
    with pytest.raises(UserError, match=f"is too large for a capsule: {words}"):
        unpack(tmp_path / "x", tmp_path / "into")
    written = tmp_path / "into" / "attempts" / "go" / "0-1" / "stdout"
    assert not written.exists() or written.stat().st_size <= 2 << 20


@pytest.mark.parametrize("change", [{"job": "../../evil"}, {"files": ["../../evil"]}])
def test_an_index_that_leads_elsewhere_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    target = io.BytesIO()
    writer = CapsuleWriter(target)
    writer.add_bytes(INDEX, msgspec.json.encode(capsule(msgspec.structs.replace(attempt(), **change))))
    writer.close()
    (tmp_path / "x").write_bytes(target.getvalue())
    with pytest.raises(UserError, match="it names"):
        unpack(tmp_path / "x", tmp_path / "into")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(archive(version=FORMAT + 1))
    with pytest.raises(UserError, match=f"has format {FORMAT + 1}, and this version knows {FORMAT}"):
        unpack(tmp_path / "x", tmp_path / "into")


def test_what_is_not_as_its_sum_tells_is_refused_and_older_archives_without_sums_are_taken(tmp_path: Path) -> None:
    summed = msgspec.structs.replace(attempt(), sums={"stdout": sum_of(io.BytesIO(b"said\n"))})
    changed, lost, added = (
        msgspec.structs.replace(summed, **change)
        for change in (
            {"sums": {"stdout": sum_of(io.BytesIO(b"other"))}},
            {"files": ["stdout", "patch"], "sums": {**summed.sums, "patch": "0"}},
            {"sums": {"stderr": summed.sums["stdout"]}},
        )
    )
    for number, (each, name) in enumerate(((changed, "stdout"), (lost, "patch"), (added, "stdout"))):
        (tmp_path / "x").write_bytes(archive(each))
        with pytest.raises(UserError, match=f"attempts/go/0-1/{name} is not what was recorded"):
            unpack(tmp_path / "x", tmp_path / f"{number}")
    for number, each in enumerate((summed, attempt())):
        (tmp_path / "x").write_bytes(archive(each))
        assert unpack(tmp_path / "x", tmp_path / f"well {number}") == capsule(each)


# What is compared.


def test_places_and_secrets_are_named_so_that_another_run_compares_equal() -> None:
    redactor = Redactor({"MY_TOKEN": "not-for-everybody"})

    def asked(run: str, token: str) -> dict[str, str]:
        prompt = f"Read /home-of/runs/{run}/results.json, use {token}, see {run}"
        return compared({"prompt": prompt, "model": ""}, {f"/home-of/runs/{run}": "run", run: "run id"}, redactor)

    assert asked("one", "not-for-everybody") == asked("two", "[redacted:MY_TOKEN]")
    assert asked("one", "a") != asked("one", "b")
    assert "model" not in asked("one", "a")


@pytest.mark.parametrize(
    ("prompt", "is_named"),
    [
        ("see run a", True),
        ("see and learn", False),
        ("read /at/a/x", True),
        ("read /at/a-b/x", False),
        ("the run a.", True),
    ],
)
def test_a_place_is_named_only_where_it_stands_as_a_whole(prompt: str, is_named: bool) -> None:
    redactor = Redactor({})
    asked = compared({"prompt": prompt}, {"a": "run id", "/at/a": "run"}, redactor)
    assert (asked == compared({"prompt": prompt}, {}, redactor)) is not is_named


def test_differences_are_told_in_words() -> None:
    now = {"agent": "demo", "permissions": "edit", "prompt": "other", "args": "0123"}
    assert differences(ASKED, now) == [
        "permissions: read was recorded, now it is edit",
        "prompt: another one",
        "args: new",
    ]
    assert differences(ASKED, now, besides=("prompt", "permissions", "args")) == []
    assert differences({}, now) == [], "of an older run nothing is known"


def test_what_cannot_be_replayed_is_refused_and_nobody_waits_in_a_replay(tmp_path: Path) -> None:
    agent = "agent = 'demo'\nprompt = 'x'\npool = 'p'\nretry = { delay = '5m' }\n"
    text = f"[pools.p]\nslots = 1\n[jobs.ask]\n{agent}[jobs.run]\nshell = 'true'\npool = 'p'\n"
    loaded = load_text(text, path=str(tmp_path / "jobs.toml"), folder=str(tmp_path), is_recorded=False)
    ask, run = as_replayed(loaded).jobs
    assert (ask.pool, ask.retry.delay, run.pool) == (None, 0.0, "p")
    (tmp_path / "child.toml").write_text("[jobs.x]\nshell = 'true'\n")
    text += "[jobs.child]\nworkflow = 'child.toml'\n"
    with pytest.raises(UserError, match=r"jobs\.child: runs a child file"):
        as_replayed(load_text(text, path=str(tmp_path / "jobs.toml"), folder=str(tmp_path), is_recorded=False))


# What is played.


def test_the_attempts_of_an_item_are_played_in_their_order(tmp_path: Path) -> None:
    found = recorded(tmp_path, attempt(0, 1, AttemptClass.CHECK_FAILED), attempt(0, 2), attempt(1, 1))
    assert [found.attempt("go", 0, place, ASKED).attempt for place in (0, 1)] == [1, 2]
    with pytest.raises(NotRecordedError, match="this would be attempt 3, and it has 2 attempts"):
        found.attempt("go", 0, 2, ASKED)
    with pytest.raises(NotRecordedError, match="no item of other was recorded"):
        found.attempt("other", 0, 0, ASKED)


@pytest.mark.parametrize("of_that_day", ["rate_limit", "overloaded", "network", "usage_limit", "lost", "cancelled"])
def test_what_only_tells_of_that_day_is_not_played(of_that_day: str, tmp_path: Path) -> None:
    found = recorded(tmp_path, attempt(0, 1, AttemptClass(of_that_day)), attempt(0, 2))
    assert found.attempt("go", 0, 0, ASKED).attempt == 2


def test_an_item_that_stands_elsewhere_now_is_found_by_what_it_is_asked(tmp_path: Path) -> None:
    other = {**ASKED, "prompt": "other"}
    found = recorded(tmp_path, attempt(0), attempt(1, asked=other))
    assert found.attempt("go", 0, 0, other).index == 1
    assert found.attempt("go", 7, 0, ASKED).index == 0


def test_each_attempt_of_an_item_that_stands_elsewhere_is_its_own(tmp_path: Path) -> None:
    other = {**ASKED, "prompt": "other"}
    both = [attempt(0, 1), attempt(0, 2), attempt(1, 1, asked=other), attempt(1, 2, asked=other)]
    found = recorded(tmp_path, *both)
    assert [found.attempt("go", 0, place, other).index for place in (0, 1)] == [1, 1]


def test_the_rounds_of_a_loop_are_played_in_their_order(tmp_path: Path) -> None:
    rounds = [attempt(0, number, asked={**ASKED, "prompt": f"round {number}"}) for number in (1, 2, 3)]
    found = recorded(tmp_path, *rounds)
    played = [found.attempt("go", 0, place, {**ASKED, "prompt": f"round {place + 1}"}).attempt for place in (0, 1, 2)]
    assert played == [1, 2, 3]


def test_the_prompt_of_a_later_attempt_may_differ_and_nothing_else(tmp_path: Path) -> None:
    found = recorded(
        tmp_path, attempt(0, 1, AttemptClass.CHECK_FAILED), attempt(0, 2, asked={**ASKED, "prompt": "with what it said"})
    )
    assert found.attempt("go", 0, 1, ASKED).attempt == 2
    changed = recorded(tmp_path, attempt(0, 1, AttemptClass.CHECK_FAILED), attempt(0, 2, asked={**ASKED, "model": "other"}))
    with pytest.raises(NotRecordedError, match="model: other was recorded, now it is none"):
        changed.attempt("go", 0, 1, ASKED)


@pytest.mark.parametrize(
    ("record", "said", "comes_to"),
    [
        ({"exit_code": 0}, AttemptClass.OK, AttemptClass.OK),
        ({"exit_code": 0}, AttemptClass.CHECK_FAILED, AttemptClass.CHECK_FAILED),
        (
            {"attempt_class": AttemptClass.TIMEOUT, "ended_by": EndReason.TIMEOUT},
            AttemptClass.PROTOCOL_ERROR,
            AttemptClass.TIMEOUT,
        ),
        ({"attempt_class": AttemptClass.STALLED, "ended_by": EndReason.STALLED}, AttemptClass.OK, AttemptClass.STALLED),
        ({"ended_by": EndReason.LINGERING}, AttemptClass.OK, AttemptClass.OK),
        ({"attempt_class": AttemptClass.STALLED, "ended_by": EndReason.LINGERING}, AttemptClass.OK, AttemptClass.STALLED),
        ({"attempt_class": AttemptClass.TIMEOUT, "ended_by": EndReason.TIMEOUT}, AttemptClass.LOST, AttemptClass.LOST),
        ({"attempt_class": AttemptClass.CHECK_FAILED, "workspace": "copy"}, AttemptClass.OK, AttemptClass.CHECK_FAILED),
        ({"attempt_class": AttemptClass.CHECK_FAILED}, AttemptClass.OK, AttemptClass.OK),
    ],
)
def test_only_what_no_stream_tells_is_taken_over(record: dict[str, Any], said: AttemptClass, comes_to: AttemptClass) -> None:
    came = taken_over(attempt(**record), msgspec.structs.replace(OUTCOME, attempt_class=said))
    assert came.attempt_class is comes_to


def test_what_nobody_knows_to_have_been_asked_is_played_for_no_other_item(tmp_path: Path) -> None:
    found = recorded(tmp_path, attempt(0), attempt(1, asked={}))
    assert found.attempt("go", 1, 0, ASKED).index == 1
    with pytest.raises(NotRecordedError, match="prompt: another one"):
        found.attempt("go", 0, 0, {**ASKED, "prompt": "f" * 16})


# The player, as the worker starts it.


def played(folder: Path, each: CapsuleAttempt, workspace: str | None = None) -> subprocess.CompletedProcess[bytes]:
    task = WorkspaceTask(kind="copy", path=workspace, source=workspace, cwd=workspace) if workspace is not None else None
    start = Start(
        sequence=1,
        item="go:0",
        attempt=1,
        mark="m",
        argv=["agent"],
        cwd="/",
        stdout_path="",
        stderr_path="",
        stdin="x",
        workspace=task,
    )
    instead = started_instead(start, each, folder)
    assert (instead.stdin, instead.script, instead.limits.stall_timeout_seconds) == ("x", None, None)
    return subprocess.run(
        instead.argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60, cwd=workspace or folder
    )


def test_the_player_writes_both_streams_and_ends_as_it_was_recorded(tmp_path: Path) -> None:
    each = attempt(exit_code=3)
    folder = tmp_path / each.folder
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(b"said \xff\n" * 50_000)
    (folder / "stderr").write_bytes(b"warned\n")
    ended = played(tmp_path, each)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"said \xff\n" * 50_000, b"warned\n")
    assert played(tmp_path, attempt(signal=signal.SIGKILL)).returncode == -signal.SIGKILL
    assert played(tmp_path, attempt(signal=signal.SIGTERM, ended_by=EndReason.TIMEOUT)).returncode == 0


def test_the_player_changes_a_workspace_as_the_agent_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each = msgspec.structs.replace(attempt(exit_code=0), files=["patch"])
    folder, workspace = tmp_path / each.folder, tmp_path / "work"
    folder.mkdir(parents=True)
    workspace.mkdir()
    # What the archive of somebody else has put there before is not run.
    (workspace / "git").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (workspace / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f".::{os.environ['PATH']}")
    subprocess.run(
        ["git", "init", "-q", str(tmp_path)], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}, timeout=60
    )
    (folder / "patch").write_text(
        "--- a/new.txt\n+++ b/new.txt\n@@ -0,0 +1 @@\n+hello\n".replace("--- a/new.txt", "--- /dev/null")
    )
    assert played(tmp_path, each, str(workspace)).returncode == 0
    assert ((workspace / "new.txt").read_text(), (tmp_path / "ran").exists()) == ("hello\n", False)
    again = played(tmp_path, each, str(workspace))
    assert again.returncode == 70
    assert again.stderr.startswith(b"orchestrate: the recorded changes do not fit here: ")


def test_the_player_loads_nothing_that_is_dear() -> None:
    listed = "import sys, orchestrator.attempts.replay.player; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True, timeout=60)
    assert not {"msgspec", "click", "jinja2", "asyncio"} & set(found.stdout.split())
