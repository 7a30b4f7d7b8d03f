"""The socket between a supervisor and one of its workers: whole messages, with descriptors, or a clear error.

Promise: a message arrives whole, once, in order, with its descriptors (close-on-exec), or `ChannelError` says that it did not.
Linux keeps message bounds itself (SEQPACKET), but cuts what does not fit and fails at about 200 kB: the cut flags are checked
and a large message travels as a file that its receiver removes. macOS has no SEQPACKET and its DGRAM tells no end-of-file:
there a stream carries each message behind its length.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from array import array
from collections.abc import Callable, Sequence

from .byte_text import encode_json, encode_message, message_decoder
from .protocol import INLINE_BYTES, ByFile

MAX_DESCRIPTORS = 64

_LENGTH = struct.Struct("<I")
_DESCRIPTOR_BYTES = array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(MAX_DESCRIPTORS * _DESCRIPTOR_BYTES)
_IS_STREAM = sys.platform != "linux"
"""What `socket_pair` makes here. Not asked of each socket: `type` makes an enumeration of the answer, for each message anew."""
_CLOEXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_BY_FILE_PREFIXES = (encode_message(ByFile(path=""))[:-1], encode_json(ByFile(path=""))[: -len('"}')])
"""How a message begins that only names a file; the second: below a folder whose name is not UTF-8."""
_decode_by_file: Callable[[bytes], ByFile] = message_decoder(ByFile)


class ChannelError(Exception):
    """A message came cut, or without all of its descriptors. The channel cannot be trusted any more."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, both close-on-exec and blocking."""
    if not _IS_STREAM:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in pair:
        # Room for two messages of the largest size, so that neither side ever blocks on the other's send.
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * INLINE_BYTES)
    return pair


def send(sock: socket.socket, message: bytes, descriptors: Sequence[int] = (), *, folder: str) -> None:
    """Send one encoded message. One larger than `INLINE_BYTES` is written into `folder` (the worker's) and told by its path.

    Raises OSError: BrokenPipeError or ConnectionResetError when the other side is gone.
    """
    if len(message) > INLINE_BYTES:
        message = encode_message(ByFile(path=_write_message_file(folder, message)))
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
    if not _IS_STREAM:
        sock.sendmsg([message], ancillary, socket.MSG_NOSIGNAL)
        return
    framed = _LENGTH.pack(len(message)) + message
    sent = sock.sendmsg([framed], ancillary)
    sock.sendall(framed[sent:])


def receive(sock: socket.socket) -> tuple[bytes, list[int]] | None:
    """The next message and the descriptors that came with it (the caller closes them); None at end-of-file.

    Blocks until there is one. Raises ChannelError, or OSError: the file of a large message cannot be read; this process has no
    room for the descriptors (EMFILE, and then the kernel has closed them).
    """
    # A datagram comes whole; of a stream the length comes first, with the descriptors.
    try:
        data, ancillary, flags, _ = sock.recvmsg(_LENGTH.size if _IS_STREAM else INLINE_BYTES + 1, _ANCILLARY_BYTES, _CLOEXEC)
    except ConnectionResetError:
        return None
    descriptors = _descriptors(ancillary) if ancillary else []
    # A message or its descriptors were cut: whatever is left of them must not be taken for the whole.
    if flags & _CUT:
        close_all(descriptors)
        # All bytes came, and fewer descriptors than fit: this process has no room for them.
        if not flags & socket.MSG_TRUNC and len(descriptors) < MAX_DESCRIPTORS:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "descriptors of a message")
        raise ChannelError(f"a message came cut: {len(data)} bytes and {len(descriptors)} descriptors are left of it")
    if not data:
        return None
    if _IS_STREAM:
        length = _receive_exactly(sock, _LENGTH.size, data)
        data = _receive_exactly(sock, _LENGTH.unpack(length)[0], b"")
    # The message itself lies in a file.
    if data.startswith(_BY_FILE_PREFIXES):
        try:
            data = _read_message_file(_decode_by_file(data).path)
        except BaseException:
            close_all(descriptors)
            raise
    return data, descriptors


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    numbers = array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
    if not _CLOEXEC:
        for number in numbers:
            os.set_inheritable(number, False)
    return list(numbers)


def close_all(descriptors: Sequence[int]) -> None:
    """Close these copies of what was received."""
    for descriptor in descriptors:
        os.close(descriptor)


def _receive_exactly(sock: socket.socket, size: int, start: bytes) -> bytes:
    data = bytearray(start)
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise ChannelError(f"the other side closed in the middle of a message ({len(data)} of {size} bytes came)")
        data += more
    return bytes(data)


def _write_message_file(folder: str, message: bytes) -> str:
    number = 0
    while True:
        path = f"{folder}/message-{os.getpid()}-{number}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            break
        except FileExistsError:
            number += 1
    try:
        with open(descriptor, "wb") as file:
            file.write(message)
    except OSError:
        os.unlink(path)
        raise
    return path


def _read_message_file(path: str) -> bytes:
    with open(path, "rb") as file:
        data = file.read()
    os.unlink(path)
    return data
