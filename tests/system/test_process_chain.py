"""A process and those above it, also while they end, and of machines that hide other users' processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from orchestrator.system import process_chain
from orchestrator.system.process_chain import ChainUnknownError, Process, chain_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")


def process(pid: int, started: int) -> Process:
    return Process(pid, "sh", pid, "", started)


def test_a_chain_leads_from_a_process_to_the_first_of_all() -> None:
    first, second, *_ = chain = chain_of(os.getpid())
    assert (first.pid, second.pid) == (os.getpid(), os.getppid())
    assert first.session == os.getsid(0)
    assert [each.started for each in chain] == sorted((each.started for each in chain), reverse=True)


def test_of_a_process_that_is_gone_nothing_is_known() -> None:
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    with pytest.raises(ChainUnknownError):
        chain_of(gone.pid)


Kernel = dict[int, list[tuple[Process, int] | None]]
"""Pid -> what each read of it gives, the last again and again: the process and its parent, or nothing."""


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    told: Kernel = {}

    def read(pid: int) -> tuple[Process, int] | None:
        answers = told.get(pid, [None])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    monkeypatch.setattr(process_chain, "_read", read)
    monkeypatch.setattr(process_chain, "_is_hidden", lambda pid: pid == 1)
    return told


def test_when_a_parent_ends_meanwhile_the_one_that_the_kernel_puts_in_its_place_is_found(kernel: Kernel) -> None:
    kernel[9] = [(process(9, 90), 8), (process(9, 90), 7)]
    kernel[7] = [(process(7, 70), 0)]
    assert [each.pid for each in chain_of(9)] == [9, 7]


def test_the_number_of_a_parent_that_is_gone_leads_to_no_younger_process(kernel: Kernel) -> None:
    kernel[9] = [(process(9, 90), 8), (process(9, 90), 7)]
    kernel[8] = [(process(8, 95), 0)]
    kernel[7] = [(process(7, 70), 0)]
    assert [each.pid for each in chain_of(9)] == [9, 7]


def test_a_chain_that_never_stands_still_is_not_known(kernel: Kernel) -> None:
    kernel[9] = [(process(9, 90), 8)]
    with pytest.raises(ChainUnknownError):
        chain_of(9)


def test_where_other_users_processes_are_hidden_the_chain_ends_at_the_first(kernel: Kernel) -> None:
    kernel[9] = [(process(9, 90), 1)]
    assert [each.pid for each in chain_of(9)] == [9]


def test_terminals_are_called_as_people_know_them() -> None:
    assert list(map(process_chain._terminal, (136, 137, 4, 0), (3, 1, 2, 0))) == ["pts/3", "pts/257", "tty2", ""]
