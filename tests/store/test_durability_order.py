"""Order of write, sync, rename and folder sync, from a trace; kills at every step; readers beside a writer; a full disk."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.store_samples import LISTED, ended, new_run
from drivers.sweeps import sweep
from drivers.warm_program import warm_program

from orchestrator.errors import StateUnwritableError
from orchestrator.store.load import read_history
from orchestrator.store.records import Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore

Step = tuple[str, str]
"""What was done ("write", "sync", "rename", "unlink") and to which file of the run; "." is its folder."""

WRITER = """
import os, select, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from drivers.store_samples import LISTED, ended
from orchestrator.store.run_store import RunStore
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.faultpoints import arm

acknowledged = os.open(Path(sys.argv[1]) / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
store = RunStore.open(RunDir(Path(sys.argv[1])))
arm(os.environ.get("ORCHESTRATE_FAULT"))
done = store.history.jobs["port"].counts()["succeeded"] if store.history.jobs else 0
for index in range(done, done + int(sys.argv[3])):
    group = store.append([LISTED, ended(index)] if index == 0 else [ended(index)])
    os.write(acknowledged, b"%d\\n" % index)
    store.request_sync()
    while store.durable_through() < group:
        select.select([store.sync_fileno()], [], [], 10)
    if index % 4 == 3:
        store.take_checkpoint()
store.close()
"""

FAULTS = [
    "journal.write",
    "journal.written",
    "journal.sync",
    "journal.synced",
    "journal.created",
    "file.written",
    "file.synced",
    "file.renamed",
    "file.folder_synced",
    "checkpoint.switched",
]


def writer(run_dir: RunDir, groups: int, *, fault: str = "") -> int:
    """Run the writer to its end, in a fork of the warm process; its exit status."""
    folder = run_dir.path.parent
    (folder / "writer.py").write_text(WRITER)
    words = [str(run_dir.path), str(Path(__file__).parent.parent), str(groups)]
    with open(os.devnull, "rb") as nothing:
        streams = (nothing.fileno(), 1, 2)
        env = {**os.environ, "ORCHESTRATE_FAULT": fault}
        return warm_program().start(words, cwd=folder, env=env, streams=streams, module="writer").wait(60)


def check_order_of_a_group_and_a_checkpoint(steps: list[Step]) -> None:
    """One group appended and synced, then one checkpoint: exactly these steps, in exactly this order."""
    assert steps == [
        ("write", "journal-1.jsonl"),
        ("sync", "journal-1.jsonl"),
        ("write", "journal-2.jsonl"),
        ("sync", "journal-2.jsonl"),
        ("sync", "."),
        ("write", ".checkpoint.json.new"),
        ("sync", ".checkpoint.json.new"),
        ("rename", ".checkpoint.json.new -> checkpoint.json"),
        ("sync", "."),
        ("unlink", "journal-1.jsonl"),
    ]


ORDERED = """
import os, select, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from drivers.store_samples import LISTED, ended
from orchestrator.store.run_store import RunStore
from orchestrator.store.run_dir import RunDir
store = RunStore.open(RunDir(Path(sys.argv[1])))
os.write(2, b"begin")
group = store.append([LISTED, ended(0)])
store.request_sync()
while store.durable_through() < group:
    select.select([store.sync_fileno()], [], [], 10)
store.take_checkpoint()
store.close()
"""


def test_strace_sees_the_steps_in_their_order(run_dir: RunDir, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    calls = "trace=write,writev,pwrite64,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,ftruncate"
    samples = str(Path(__file__).parent.parent)
    command = [
        strace,
        "-f",
        "-y",
        "-s",
        "4096",
        "-o",
        str(trace),
        "-e",
        calls,
        sys.executable,
        "-c",
        ORDERED,
        str(run_dir.path),
        samples,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "ptrace" in result.stderr and result.returncode:
        pytest.skip(f"strace may not trace here: {result.stderr.strip()[:100]}")
    assert result.returncode == 0, result.stderr
    text = trace.read_text()
    check_order_of_a_group_and_a_checkpoint(list(steps_of(text[text.index('"begin"') :], run_dir.path)))


def steps_of(trace: str, folder: Path) -> Iterator[Step]:
    """The steps that an strace with decoded descriptors shows within `folder`."""

    def name(path: str) -> str:
        return os.path.relpath(path, folder)

    for line in trace.splitlines():
        if "resumed>" in line:
            continue  # told where it began
        if found := re.search(r"(write|writev|pwrite64|ftruncate|fsync|fdatasync)\(\d+<([^>]*)>", line):
            call, path = found.groups()
            if path.startswith(str(folder)):
                yield ("sync" if "sync" in call else "write"), name(path)
        elif found := re.search(r'rename\w*\((?:AT_FDCWD[^,]*, )?"([^"]+)", (?:AT_FDCWD[^,]*, )?"([^"]+)"', line):
            yield "rename", f"{name(found[1])} -> {name(found[2])}"
        elif found := re.search(r'unlink\w*\((?:AT_FDCWD[^,]*, )?"([^"]+)"', line):
            yield "unlink", name(found[1])


def test_the_steps_are_in_their_order_without_strace_too(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore.open(run_dir)
    names = {store._journal.fd: "journal-1.jsonl"}
    steps: list[Step] = []

    def name(path: str | Path) -> str:
        return os.path.relpath(path, run_dir.path)

    def record(patched: pytest.MonkeyPatch, call: str, what: str) -> None:
        real = getattr(os, call)

        def recorded(fd: int, *rest: bytes) -> int | None:
            if fd in names:
                steps.append((what, names[fd]))
            result: int | None = real(fd, *rest)
            return result

        patched.setattr(os, call, recorded)

    real_open, real_rename, real_unlink = os.open, os.rename, os.unlink

    def opened(path: str | Path, flags: int, mode: int = 0o777) -> int:
        fd = real_open(path, flags, mode)
        names[fd] = name(path)
        return fd

    def renamed(source: Path, target: Path) -> None:
        steps.append(("rename", f"{name(source)} -> {name(target)}"))
        real_rename(source, target)

    def unlinked(path: Path) -> None:
        steps.append(("unlink", name(path)))
        real_unlink(path)

    with monkeypatch.context() as patched:
        for call, what in [("write", "write"), ("fsync", "sync"), ("fdatasync", "sync")]:
            record(patched, call, what)
        patched.setattr(os, "open", opened)
        patched.setattr(os, "rename", renamed)
        patched.setattr(os, "unlink", unlinked)
        group = store.append([LISTED, ended(0)])
        store.request_sync()
        wait_until_durable(store, group)
        store.take_checkpoint()
    store.close()
    check_order_of_a_group_and_a_checkpoint(steps)


def wait_until_durable(store: RunStore, group: int) -> None:
    while store.durable_through() < group:
        assert select.select([store.sync_fileno()], [], [], 10)[0], "no news of the sync"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("count", sweep([1, 2], quick=1))
def test_a_kill_at_any_step_loses_no_acknowledged_group(run_dir: RunDir, fault: str, count: int) -> None:
    assert writer(run_dir, 12, fault=f"{fault}:{count}") == -9
    check_acknowledged(run_dir, kills=1)
    # And the next holder goes on from there, also when it is killed at the same place again.
    assert writer(run_dir, 12, fault=f"{fault}:{count}") == -9
    check_acknowledged(run_dir, kills=2)
    assert writer(run_dir, 4) == 0
    check_acknowledged(run_dir, kills=2)
    assert read_history(run_dir).jobs["port"].counts()[Status.SUCCEEDED] >= 4


def check_acknowledged(run_dir: RunDir, kills: int) -> None:
    told = {int(line) for line in (run_dir.path / "acknowledged").read_text().splitlines()}
    jobs = read_history(run_dir).jobs
    recorded = set(jobs["port"].indices(Status.SUCCEEDED)) if jobs else set()
    assert told <= recorded
    assert recorded == set(range(len(recorded)))
    assert all(jobs["port"].record(index) == ended(index) for index in recorded)
    # A kill takes at most one acknowledgement of a group that was written.
    assert len(recorded - told) <= kills


READER = """
import sys
from pathlib import Path
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
run_dir = RunDir(Path(sys.argv[1]))
generations = {read_history(run_dir).generation}
print("reading", flush=True)
last = reads = 0
while last < int(sys.argv[2]):
    history = read_history(run_dir)
    job = history.jobs["port"]
    found = job.counts()["succeeded"]
    assert found >= last, (found, last)
    assert all(job.record(index).index == index for index in {0, found // 2, found - 1} if found)
    last = found
    reads += 1
    generations.add(history.generation)
print(reads, len(generations))
"""


def test_readers_beside_a_writer_that_takes_checkpoints_see_a_run_that_only_grows(run_dir: RunDir) -> None:
    items = 80
    store = RunStore.open(run_dir)
    store.append([LISTED, ended(0)])
    command = [sys.executable, "-c", READER, str(run_dir.path), str(items)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        for index in range(1, items):
            store.append([ended(index)])
            store.take_checkpoint()
        for reader in readers:
            told, _ = reader.communicate(timeout=60)
            assert reader.returncode == 0
            reads, generations = map(int, told.split())
            assert reads >= 1
            assert generations > 1
    finally:
        for reader in readers:
            reader.kill()
            reader.wait(timeout=60)
            assert reader.stdout is not None
            reader.stdout.close()
        store.close()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of `size` at `folder`. Skips the test where none can be mounted."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    result = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if result.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {result.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as home:
        run_dir = new_run(home)
        store = RunStore.open(run_dir)
        store.append([LISTED])
        appended = 0
        with contextlib.suppress(StateUnwritableError):
            while appended < 10_000:
                store.append([ended(appended, output=b"x" * 500)])
                appended += 1
        with pytest.raises(StateUnwritableError):
            store.append([ended(appended)])
        store.close()
        assert 0 < appended < 10_000
        assert read_history(run_dir).jobs["port"].counts()[Status.SUCCEEDED] == appended
        # With no room to set a torn tail aside the run cannot be taken up, and is told so; it is still read.
        with contextlib.suppress(StateUnwritableError):
            RunStore.open(run_dir).close()
        assert read_history(run_dir).jobs["port"].record(appended - 1) == ended(appended - 1, output=b"x" * 500)
        subprocess.run(["mount", "-o", "remount,size=2m", home], check=True)
        store = RunStore.open(run_dir)
        store.append([ended(appended)])
        store.take_checkpoint()
        store.close()
        assert read_history(run_dir).jobs["port"].counts()[Status.SUCCEEDED] == appended + 1
