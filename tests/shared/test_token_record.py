"""The record of a token: where it lies, what a damaged one is, and its age when somebody sets the clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.token_samples import record

from orchestrator.errors import StateRefusedError, StateUnwritableError
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord, encode_record, now_stamps, read_record
from orchestrator.workers.protocol import AttemptClass, Outcome

HOUR = 3600.0
OUTCOME = Outcome(attempt_class=AttemptClass.OK, started_at=1.0, finished_at=2.0, duration_seconds=1.0)


def written_now(**keys: Any) -> TokenRecord:
    at, clock, boot = now_stamps()
    return record("ship", at=at, clock=clock, boot=boot, **keys)


@pytest.fixture
def files(tmp_path: Path) -> TokenFiles:
    made = TokenFiles(tmp_path)
    made.folder.mkdir()
    return made


@pytest.mark.parametrize("token", ["ship", "../../etc/passwd", "a/b\n", "ü" * 2000, "CON", " "])
def test_any_text_is_a_token_and_its_files_lie_in_the_folder(files: TokenFiles, token: str) -> None:
    for path in (files.lock_path(token), files.record_path(token)):
        assert path.parent == files.folder
        assert len(path.name) <= 40
    assert files.key_of(token) != files.key_of(token + "x")


@pytest.mark.parametrize(
    "known",
    [
        record("ship", "held", promotions=2, output="json"),
        record("ship", "done", is_success=True, outcome=OUTCOME),
        record("ship", "released", why="cancelled", replaced_by="r2/x"),
    ],
    ids=["held", "done", "released"],
)
def test_what_is_written_is_read(files: TokenFiles, known: TokenRecord) -> None:
    files.write_held(known)
    assert files.find_record("ship") == known


def test_a_token_that_nobody_had_has_no_record(files: TokenFiles) -> None:
    assert files.find_record("ship") is None


def test_what_a_power_loss_left_of_an_unsynced_record_is_none(files: TokenFiles) -> None:
    path = files.record_path("ship")
    whole = encode_record(record("ship", "held", payload='a brace } and a quote \\" in it'))
    for length in range(len(whole)):
        for lost in (whole[:length], whole[:length] + bytes(len(whole) - length), bytes(length) + whole[length:]):
            path.write_bytes(lost)
            assert read_record(path) in (None, record_of(whole)), lost
    path.write_bytes(b"\0" * 4096)
    assert read_record(path) is None


def record_of(whole: bytes) -> TokenRecord:
    return msgspec.json.decode(whole, type=TokenRecord)


@pytest.mark.parametrize("data", [b"}", b"[]", b'{"token": 3}', b"\xff\xfe", b'{"x":' + b"[" * 5000 + b"}"])
def test_a_damaged_record_is_refused_and_left_as_it_is(files: TokenFiles, data: bytes) -> None:
    path = files.record_path("ship")
    path.write_bytes(data)
    with pytest.raises(StateRefusedError, match=r"damaged.*"):
        read_record(path)
    assert path.read_bytes() == data


def test_a_part_of_a_verdict_is_refused_for_it_was_synced_whole(files: TokenFiles) -> None:
    whole = encode_record(record("ship", is_success=True, outcome=OUTCOME))
    path = files.record_path("ship")
    for length in range(whole.index(b'"holder"'), len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateRefusedError):
            read_record(path)


def test_a_newer_format_is_told_as_one_whatever_else_has_changed(files: TokenFiles) -> None:
    path = files.record_path("t")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"format": 2, "token": ["t"]}')
    with pytest.raises(StateRefusedError, match="newer format"):
        read_record(path)


def test_a_newer_format_is_refused(files: TokenFiles) -> None:
    told = msgspec.json.decode(encode_record(record("ship")))
    path = files.record_path("ship")
    path.write_bytes(msgspec.json.encode({**told, "format": 2, "news": True}))
    with pytest.raises(StateRefusedError, match="newer format"):
        read_record(path)


def test_a_record_that_cannot_be_written_is_told_and_the_old_one_stays(files: TokenFiles) -> None:
    old = record("ship")
    files.write_held(old)
    os.mkdir(files.folder / f".{files.record_path('ship').name}.new")
    with pytest.raises(StateUnwritableError):
        files.write_held(record("ship", "held"))
    assert files.find_record("ship") == old


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_within_one_boot_no_clock_that_somebody_sets_changes_an_age(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    known = written_now()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert 0.0 <= known.age < 60.0


def test_across_boots_the_wall_clock_counts_and_never_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    known = record("ship", age=100.0)
    assert 100.0 <= known.age < 160.0
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - HOUR)
    assert known.age == 0.0
