"""tokens list and forget, and what prune and doctor do with tokens: what is in flight stays, what is over can go."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

from drivers.command_line import RunCli
from drivers.token_samples import MARK, living_holder, record, supervising, token_locked, write

from orchestrator.cli import checkup
from orchestrator.shared.tokens.record import TokenFiles


def cut_verdict(home: Path, token: str) -> None:
    """A part of a verdict, which was synced whole: this is damage, and no power loss made it."""
    path = TokenFiles(home).record_path(token)
    path.write_bytes(path.read_bytes()[:-20])


def files_of(home: Path) -> set[str]:
    return {path.name for path in (home / "tokens").iterdir()}


def test_without_tokens_there_is_nothing_to_list(run_cli: RunCli) -> None:
    assert run_cli("tokens", "list").stdout == run_cli("tokens").stdout == ""
    assert json.loads(run_cli("tokens", "list", "--json").stdout) == []


def test_the_list_tells_the_state_of_each_token_newest_first(run_cli: RunCli, home: Path) -> None:
    write(
        home,
        record("a lost one", "held", age=400),
        record("port a", "held", age=5, holder=living_holder(), promotions=1),
        record("good", age=300, is_success=True),
        record("bad", age=200),
        record("given up", "released", age=100, why="cancelled"),
        record("taken", "released", age=50, why="replaced", replaced_by="r2/x"),
        record("broken", age=10),
    )
    cut_verdict(home, "broken")
    with supervising(home):
        told = json.loads(run_cli("tokens", "list", "--json").stdout)
        table = run_cli("tokens", "--home", str(home), "list", "--home", str(home)).stdout.splitlines()
    assert [(each["token"], each["state"]) for each in told] == [
        (None, "unreadable"),
        ("port a", "in flight"),
        ("taken", "replaced"),
        ("given up", "cancelled"),
        ("bad", "failed"),
        ("good", "succeeded"),
        ("a lost one", "lost"),
    ]
    assert (told[1]["holder"], told[1]["pid"], told[1]["promotions"]) == ("r1/port:3", os.getpid(), 1)
    assert told[2]["replaced_by"] == "r2/x"
    assert table[0].split() == ["STATE", "AGE", "PID", "HOLDER", "TOKEN"]
    assert table[2].split() == ["in", "flight", table[2].split()[2], str(os.getpid()), "r1/port:3", "port", "a"]


def test_a_token_that_is_over_is_forgotten_and_then_unknown(run_cli: RunCli, home: Path) -> None:
    write(home, record("port ä"), record("port"))
    told = run_cli("tokens", "forget", "port ä")
    assert (told.returncode, told.stdout, told.stderr) == (0, "forgotten: port ä\n", "")
    assert files_of(home) == {TokenFiles(home).record_path("port").name, TokenFiles(home).lock_path("port").name}
    again = run_cli("tokens", "forget", "port ä")
    assert again.returncode == 2
    assert "no token 'port ä' is known" in again.stderr
    assert run_cli("tokens", "forget", "../runs").returncode == 2
    told = run_cli("tokens", "forget", "x" * 5000)
    assert told.returncode == 2
    assert len(told.stderr) < 1000
    assert run_cli("tokens", "forget", os.fsdecode(b"\xff")).returncode == 2


def test_tokens_that_differ_by_blanks_alone_do_not_look_alike(run_cli: RunCli, home: Path) -> None:
    write(home, record("ok"), record("ok "), record("'ok '"), record("line\n"), record("y" * 5000))
    shown = {line[line.index(" r1/port:3") :].split(maxsplit=1)[1] for line in run_cli("tokens", "list").stdout.splitlines()[1:]}
    assert shown == {"ok", "'ok '", shlex.quote("'ok '"), "'line\\n'", "y" * 199 + "…"}
    assert run_cli("tokens", "forget", "ok ").stdout == "forgotten: 'ok '\n"
    assert len(run_cli("tokens", "forget", "y" * 5000).stdout) < 300


def test_a_token_in_flight_is_not_forgotten_and_its_holder_is_named(run_cli: RunCli, home: Path) -> None:
    write(home, record("port", "held", holder=living_holder()))
    with supervising(home), token_locked(home, "port"):
        told = run_cli("tokens", "forget", "port")
    assert told.returncode == 75
    assert f"token 'port' is in flight: r1/port:3 (process {os.getpid()}) does its work" in told.stderr
    assert len(files_of(home)) == 2


def test_a_token_that_is_kept_through_a_backoff_is_not_forgotten(run_cli: RunCli, home: Path) -> None:
    write(home, record("port", "held", holder=living_holder()))
    with supervising(home):
        told = run_cli("tokens", "forget", "port")
    assert (told.returncode, "is kept by r1/port:3 until its next attempt" in told.stderr) == (75, True)
    assert len(files_of(home)) == 2


def test_a_lost_token_is_forgotten_only_once_nothing_of_its_holder_lives(run_cli: RunCli, home: Path) -> None:
    write(home, record("port", "held"))
    with subprocess.Popen(["sleep", "600"], env={**os.environ, "ORCHESTRATE_MARK": f"{MARK}/r2.m/x/1"}) as left:
        try:
            told = run_cli("tokens", "forget", "port")
            pruned = run_cli("prune", "--older-than", "0s")
        finally:
            left.kill()
    assert told.returncode == 75
    assert f"left process {left.pid} behind" in told.stderr
    assert pruned.stdout == "0 runs, 0 B freed\n"
    assert run_cli("tokens", "forget", "port").returncode == 0
    assert files_of(home) == set()


def test_a_record_that_cannot_be_read_is_forgotten_by_its_key(run_cli: RunCli, home: Path) -> None:
    write(home, record("port"))
    TokenFiles(home).record_path("port").write_text('{"format": 99}')
    (bad,) = [each for each in checkup.examine(home) if each.check == "tokens" and each.level == "bad"]
    key = bad.message.rpartition(" ")[2]
    assert run_cli("tokens", "forget", key).returncode == 0
    assert files_of(home) == set()


def test_prune_forgets_old_tokens_and_leaves_those_in_flight_and_the_young(run_cli: RunCli, home: Path) -> None:
    write(
        home,
        record("old", is_success=True),
        record("old, released", "released", why="cancelled"),
        record("old, lost", "held"),
        record("old, but looked at", age=3600),
        record("in flight", "held", holder=living_holder()),
        record("young", age=5),
    )
    with supervising(home), token_locked(home, "old, but looked at"):
        dry = run_cli("prune", "--older-than", "30m", "--dry-run").stdout
        assert len(files_of(home)) == 12
        told = run_cli("prune", "--older-than", "30m", "--json").stdout
    assert dry == "0 runs, 0 B would be freed\n3 tokens would be forgotten\n"
    assert sorted((each["token"], each["status"]) for each in json.loads(told)) == [
        ("old", "succeeded"),
        ("old, lost", "lost"),
        ("old, released", "cancelled"),
    ]
    kept = {each["token"] for each in json.loads(run_cli("tokens", "list", "--json").stdout)}
    assert kept == {"old, but looked at", "in flight", "young"}


def test_doctor_counts_tokens_and_names_those_that_were_lost(home: Path) -> None:
    home.mkdir(mode=0o700)
    write(home, record("good", is_success=True), *(record(f"lost {number}", "held") for number in range(7)))
    found = {each.level: each.message for each in checkup.examine(home) if each.check == "tokens"}
    assert sorted(found["ok"].split(", ")) == ["1 succeeded", "7 lost"]
    assert found["note"].endswith(" and 2 more")
    assert "(r1/port:3)" in found["note"]


def test_a_damaged_record_fails_its_item_alone_and_says_what_mends_it(run_cli: RunCli, home: Path, tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text('[jobs.a]\ntoken = "port"\ncommand = ["true"]\n[jobs.b]\ncommand = ["true"]\n')
    assert run_cli("run", "two.toml", "--quiet").returncode == 0
    cut_verdict(home, "port")
    told = run_cli("run", "two.toml", "--keep-going", "--json")
    assert told.returncode == 1
    assert json.loads(told.stdout)["counts"] == {"failed": 1, "succeeded": 1}
    assert f"tokens forget {TokenFiles(home).key_of('port')}" in json.loads(told.stdout)["error"]["message"]
    assert run_cli("tokens", "forget", "port").returncode == 0
    assert run_cli("run", "two.toml", "--quiet").returncode == 0
