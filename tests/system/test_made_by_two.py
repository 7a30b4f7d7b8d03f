"""What two processes make is what one makes, whatever becomes of the second."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator

import pytest

from orchestrator.system.made_by_two import made_by_two


def part(number: int) -> Iterator[bytes]:
    """Pieces of all sizes: none, an empty one, and more than fits in a pipe."""
    yield from (b"%d." % number * (7 * size + 1) for size in range(number % 3))
    yield b""
    yield b"%d" % (number % 10) * (3 << 20 if number in (4, 5) else 100)


WHOLE = b"".join(piece for number in range(9) for piece in part(number))


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The processes that a test starts; afterwards none is left."""
    pids: list[int] = []
    fork = os.fork

    def noted() -> int:
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", noted)
    yield pids
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_every_other_part_is_made_by_a_child(count: int, children: list[int]) -> None:
    makers = b"".join(made_by_two(lambda _: [b"%d " % os.getpid()], count)).split()
    assert [int(pid) for pid in makers] == [(os.getpid(), *children)[number % 2] for number in range(count)]
    assert b"".join(made_by_two(part, 9)) == WHOLE


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_a_killed_child_left_out_is_made_by_its_parent(at: int, children: list[int]) -> None:
    def make(number: int) -> Iterator[bytes]:
        for place, piece in enumerate(part(number)):
            if number == 5 and place == at and not children[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            yield piece

    assert b"".join(made_by_two(make, 9)) == WHOLE


def test_an_error_comes_behind_the_bytes_that_were_made_before_it(children: list[int]) -> None:
    def make(number: int) -> Iterator[bytes]:
        yield b"%d" % number
        if number == 3:
            raise ValueError("damaged")
        yield b"."

    made = made_by_two(make, 9)
    assert b"".join(itertools.islice(made, 7)) == b"0.1.2.3"
    with pytest.raises(ValueError, match="damaged"):
        next(made)
    assert len(children) == 1


def test_who_has_enough_leaves_no_child_behind(children: list[int]) -> None:
    made = made_by_two(part, 1 << 40)
    assert [next(made), next(made)] == [b"0" * 100, b"1."]
    made.close()
    assert len(children) == 1


def test_without_room_for_a_process_one_makes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", fork)
    assert b"".join(made_by_two(part, 9)) == WHOLE
