"""Whatever stands in place of a file of the state: each command tells it in words, at once, and changes nothing of it.

A FIFO would keep its reader for ever, a link may lead anywhere, a folder cannot be read. The sweep puts each kind in each place.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from drivers.recorded_runs import ROOT, RUN, lay_out

from orchestrator.cli.entry import main

Cli = Callable[..., tuple[int, str]]

LIMIT_SECONDS = 20
"""A command that waits for the other end of a FIFO waits for ever."""


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "within").touch()


def plain_file(path: Path) -> None:
    path.write_bytes(b"junk\xff\n")


def bound_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # its name may be no longer than a hundred bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def foreign(path: Path) -> None:
    """A file of another user; only root can make one."""
    path.write_bytes(b"theirs\n")
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    path.chmod(0)


def device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


def brackets(path: Path) -> None:
    """What takes a decoder deeper than it can go."""
    path.write_bytes(b'{"format":1,"x":' + b"[" * 5000 + b"\n")


def numbers(path: Path) -> None:
    """What a program of any version may find, and can neither hold nor reckon with."""
    huge = b"9" * 400
    path.write_bytes(b'{"format":1,"pid":%b,"since":1e300,"at":-%b,"count":%b,"slots":1e308}\n' % (huge, huge, huge))


KINDS = [
    fifo,
    folder,
    link_to_nothing,
    plain_file,
    bound_socket,
    link_to_itself,
    link_to_zeros,
    foreign,
    device,
    brackets,
    numbers,
]

RUN_FOLDER = f"runs/{RUN}"
PLACES = [
    f"{RUN_FOLDER}/checkpoint.json",
    f"{RUN_FOLDER}/journal-1.jsonl",
    f"{RUN_FOLDER}/supervisor.lock",
    f"{RUN_FOLDER}/jobs.toml",
    f"{RUN_FOLDER}/items/fetch.jsonl",
    "launch.lock",
    "tokens/6ad3b34a247b4e29203fe1b97fafc198.json",
    "tokens/6ad3b34a247b4e29203fe1b97fafc198.lock",
    "tokens/955291e434d4d1e87e485b8d496faca9.json",
    "tokens/955291e434d4d1e87e485b8d496faca9.lock",
    "pools/site/0.lock",
    "pools/site/starts",
    "pools/site/starts.lock",
    "limits/demo-4dd336b6.json",
    "limits/demo-4dd336b6.lock",
    "limits/demo-4dd336b6.probe",
    "waits/other.json",
    "crash.log",
    f"{RUN_FOLDER}/supervisor.json",
    f"{RUN_FOLDER}/summary.json",
    f"{RUN_FOLDER}/.summary.json.new",
    f"{RUN_FOLDER}/.supervisor.json.new",
    f"{RUN_FOLDER}/.checkpoint.json.new",
    f"{RUN_FOLDER}/supervisor.log",
    f"{RUN_FOLDER}/control.sock",
    f"{RUN_FOLDER}/config.toml",
    f"{RUN_FOLDER}/slots/0.lock",
    f"{RUN_FOLDER}/slots/count",
    f"{RUN_FOLDER}/workers/0/log",
    f"{RUN_FOLDER}/workers/0/stdout",
    f"{RUN_FOLDER}/workers/0/alive.lock",
    f"{RUN_FOLDER}/workers/3/log",
    f"{RUN_FOLDER}/workers/3/crash.log",
    f"{RUN_FOLDER}/workers/3/alive.lock",
    f"{RUN_FOLDER}/outputs/fetch/0/0-0.stdout",
    f"{RUN_FOLDER}/outputs/fetch/0/1-1.stdout",
    f"{RUN_FOLDER}/results/fetch.json",
    # Folders.
    RUN_FOLDER,
    f"{RUN_FOLDER}/items",
    f"{RUN_FOLDER}/slots",
    f"{RUN_FOLDER}/workers",
    f"{RUN_FOLDER}/outputs",
    "runs/other",
    "runs",
    "tokens",
    "pools",
    "pools/site",
    "limits",
    "waits",
]

READING = [
    ("list",),
    ("list", "--json", "--all"),
    ("status", RUN),
    ("status", RUN, "--json"),
    ("why", RUN, "fetch:0"),
    ("why", RUN, "fetch:1"),
    ("results", RUN),
    ("results", RUN, "--json"),
    ("logs", RUN),
    ("wait", RUN),
    ("tokens", "list"),
    ("agents",),
    ("cost",),
    ("doctor",),
    ("doctor", "--orphans"),
    ("prune", "--older-than", "1d", "--dry-run"),
    ("status", "before"),
]
CHANGING = [
    ("resume", RUN),
    ("cancel", RUN),
    ("retry", RUN, "fetch:0"),
    ("stop", RUN),
    ("flush", RUN),
    ("set", RUN, "slots=3"),
    ("resume", RUN, "--update"),
    ("run", "jobs.toml", "--resume", "--overlap", "skip"),
    ("tokens", "forget", "page a"),
    ("agents", "--forget-limits", "demo-4dd336b6"),
    ("prune", "--older-than", "0s"),
]


@pytest.fixture
def cli(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """A command line in this process, which a signal ends that waits too long."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path / "project")
        capfd.readouterr()
        signal.alarm(LIMIT_SECONDS)
        try:
            code = main(list(words))
        finally:
            signal.alarm(0)
        told = capfd.readouterr()
        return code, told.out + told.err

    def hangs(_number: int, _frame: object) -> None:
        raise AssertionError("the command hangs")

    assert home.parent == tmp_path
    before = signal.signal(signal.SIGALRM, hangs)
    yield call
    signal.signal(signal.SIGALRM, before)


def begin(folder: Path) -> None:
    """An interrupted run that holds a token and slots of a pool, beside one that has ended, and an account that is limited."""
    for each in folder.iterdir():
        shutil.rmtree(each, ignore_errors=True)
    lay_out("2-tokens/tokens", folder)
    shutil.copytree(ROOT / "5-workspaces/limited/home/limits", folder / "home" / "limits")
    (folder / "home" / "waits").mkdir()


def put(path: Path, kind: Callable[[Path], None]) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind(path)


def wrong_of(cli: Cli, commands: Iterable[tuple[str, ...]]) -> list[str]:
    """The commands that do not end with words and an exit code of the contract."""
    wrong = []
    for words in commands:
        code, said = cli(*words)
        if code not in (0, 1, 2, 3, 4, 74, 75, 130) or "Traceback" in said or "internal error" in said:
            wrong.append(f"{' '.join(words)}: {code}: {said}")
    return wrong


@pytest.mark.parametrize("place", PLACES[:5])
def test_what_people_ask_first_is_answered_beside_a_fifo(place: str, tmp_path: Path, cli: Cli) -> None:
    begin(tmp_path)
    put(tmp_path / "home" / place, fifo)
    assert not wrong_of(cli, READING[:9])
    code, said = cli("resume", RUN)
    # Of a lost list only the items fail that need it; all else has to do with the whole run.
    assert code in ((1,) if "/items/" in place else (2, 74)), said
    assert "a FIFO stands in its place" in said
    assert stat.S_ISFIFO((tmp_path / "home" / place).stat().st_mode), "it is left as it is"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_no_reader_and_no_resume_hangs_or_breaks(place: str, kind: Callable[[Path], None], tmp_path: Path, cli: Cli) -> None:
    """Of the kinds that only root can make, or that differ little, the first places have all."""
    if kind in (bound_socket, link_to_zeros, link_to_nothing, device, foreign) and place not in PLACES[:6]:
        pytest.skip("as good as another kind")
    begin(tmp_path)
    put(tmp_path / "home" / place, kind)
    wrong = wrong_of(cli, [*READING, CHANGING[0]])
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES[:18])
def test_no_command_that_changes_something_hangs_or_breaks(place: str, tmp_path: Path, cli: Cli) -> None:
    wrong = []
    for words in CHANGING[1:]:
        begin(tmp_path)
        put(tmp_path / "home" / place, fifo)
        wrong += wrong_of(cli, [words])
    assert not wrong, f"{len(wrong)} wrong\n" + "\n".join(wrong)
