"""The socket between supervisor and worker: whole messages or a clear error, on both kinds of socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers import channel
from orchestrator.workers.protocol import INLINE_BYTES

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[socket.SOCK_SEQPACKET, socket.SOCK_STREAM], ids=["seqpacket", "stream"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """`socket_pair` gives the first on Linux, the second on macOS."""
    monkeypatch.setattr(channel, "_IS_STREAM", request.param == socket.SOCK_STREAM)
    left, right = socket.socketpair(socket.AF_UNIX, request.param)
    for end in (left, right):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * INLINE_BYTES)
    with left, right:
        yield left, right


def test_messages_keep_their_bounds(pair: Pair, tmp_path: Path) -> None:
    messages = [b"a", b"bc" * 1000, b"\0", b"d" * INLINE_BYTES]
    for message in messages:
        channel.send(pair[0], message, folder=str(tmp_path))
        assert channel.receive(pair[1]) == (message, [])
    for message in messages[:3]:
        channel.send(pair[1], message, folder=str(tmp_path))
    assert [channel.receive(pair[0]) for _ in range(3)] == [(message, []) for message in messages[:3]]


@pytest.mark.parametrize("size", [INLINE_BYTES + 1, 5_000_000])
def test_a_large_message_goes_by_file(pair: Pair, tmp_path: Path, size: int) -> None:
    reader, writer = os.pipe()
    channel.send(pair[0], b"x" * size, [writer], folder=str(tmp_path))
    channel.send(pair[0], b"y" * size, folder=str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
    received = channel.receive(pair[1])
    assert received is not None
    assert received[0] == b"x" * size
    assert len(received[1]) == 1
    assert channel.receive(pair[1]) == (b"y" * size, [])
    assert list(tmp_path.iterdir()) == []
    for descriptor in (reader, writer, *received[1]):
        os.close(descriptor)


def test_descriptors_arrive_close_on_exec(pair: Pair, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    channel.send(pair[0], b"m", [reader, writer], folder=str(tmp_path))
    os.close(reader)
    os.close(writer)
    received = channel.receive(pair[1])
    assert received is not None
    got_reader, got_writer = received[1]
    os.write(got_writer, b"through")
    assert os.read(got_reader, 10) == b"through"
    assert not os.get_inheritable(got_reader)
    os.close(got_reader)
    os.close(got_writer)


def test_end_of_file_comes_after_what_was_sent(pair: Pair, tmp_path: Path) -> None:
    channel.send(pair[0], b"last", folder=str(tmp_path))
    pair[0].close()
    assert channel.receive(pair[1]) == (b"last", [])
    assert channel.receive(pair[1]) is None


def test_sending_to_nobody_is_a_broken_pipe(pair: Pair, tmp_path: Path) -> None:
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        channel.send(pair[0], b"m", folder=str(tmp_path))


def test_a_message_that_was_cut_is_refused() -> None:
    left, right = channel.socket_pair()
    with left, right:
        left.send(b"x" * (INLINE_BYTES + 2))
        with pytest.raises(channel.ChannelError, match="cut"):
            channel.receive(right)


def test_descriptors_that_were_lost_are_refused(tmp_path: Path) -> None:
    left, right = channel.socket_pair()
    with left, right:
        open_before = len(os.listdir("/proc/self/fd"))
        channel.send(left, b"m", [0] * (channel.MAX_DESCRIPTORS + 20), folder=str(tmp_path))
        with pytest.raises(channel.ChannelError, match="cut"):
            channel.receive(right)
        assert len(os.listdir("/proc/self/fd")) == open_before


def test_a_stream_that_ends_within_a_message_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "_IS_STREAM", True)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        left.send(b"\x05\0\0\0ab")
        left.close()
        with pytest.raises(channel.ChannelError, match="middle"):
            channel.receive(right)
