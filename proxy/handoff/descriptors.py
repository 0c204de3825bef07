"""Descriptors between processes, on a non-blocking SOCK_SEQPACKET socket.

Owns the system calls. Rules: what is received is close-on-exec from the first moment
(MSG_CMSG_CLOEXEC), because another thread may exec at any time; a truncated message has had all
its descriptors closed before it is reported; descriptors that come where none belong are closed.

A kernel that finds no free descriptor number drops those it cannot install and sets MSG_CTRUNC,
and what it dropped is gone. So a receiver holds spare descriptors (`Reserve`), gives as many back
as the next message announces, and grants credit only for spares that it holds: running out of
descriptors then ends in less credit and not in lost connections.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from proxy.handoff.settings import DESCRIPTORS_PER_MESSAGE_MAX, MESSAGE_BYTES_MAX

__all__ = [
    "Received",
    "Reserve",
    "channel_pair",
    "close_all",
    "is_open",
    "peek",
    "receive_message",
    "send_message",
    "sever",
]

_INT_BYTES = array.array("i").itemsize
_ANCILLARY_BYTES = socket.CMSG_SPACE(DESCRIPTORS_PER_MESSAGE_MAX * _INT_BYTES)
# Plain numbers: an enum's `&` costs more than the system call whose flags it looks at.
_TRUNCATED = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)


class Received(NamedTuple):
    """One message. An empty one without truncation is the end of the channel."""

    message: bytes
    descriptors: list[int]
    truncated: bool
    """Bytes or descriptors are missing; of the descriptors none is left open."""


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a channel: non-blocking, close-on-exec. Raises OSError."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def send_message(channel: socket.socket, message: bytes, descriptors: Sequence[int]) -> None:
    """Send one message whole, with its descriptors. Raises OSError, then nothing was sent."""
    rights = array.array("i", descriptors)
    channel.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def peek(channel: socket.socket, size: int) -> bytes:
    """The first bytes of the next message, which stays; b"" at the end. Raises OSError."""
    return channel.recv(size, socket.MSG_PEEK)


def receive_message(channel: socket.socket) -> Received:
    """Receive one message with its descriptors, which become the caller's. Raises OSError."""
    message, ancillary, flags, _ = channel.recvmsg(
        MESSAGE_BYTES_MAX, _ANCILLARY_BYTES, socket.MSG_CMSG_CLOEXEC
    )
    rights = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            rights.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    descriptors = rights.tolist()
    if flags & _TRUNCATED:
        close_all(descriptors)
        return Received(message, [], True)
    return Received(message, descriptors, False)


def close_all(descriptors: Iterable[int]) -> None:
    """Close these; an error of close(2) leaves the descriptor closed all the same on Linux."""
    for descriptor in descriptors:
        try:
            os.close(descriptor)
        except OSError:
            continue


def is_open(descriptor: int) -> bool:
    """Whether this number is an open descriptor."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def sever(descriptor: int) -> None:
    """End the connection itself, whoever else holds a copy; the descriptor stays open."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
    finally:
        connection.detach()


class Reserve:
    """Spare descriptors that keep numbers free for those to be received. Owns them.

    They are copies of one eventfd: nothing of the file system, and closing one has no effect.
    """

    __slots__ = ("_spares",)

    def __init__(self) -> None:
        self._spares: list[int] = []

    def __len__(self) -> int:
        return len(self._spares)

    def fill(self, size: int) -> int:
        """Hold `size` spares, or as many as the process can have. Returns how many it holds."""
        spares = self._spares
        try:
            if not spares and size > 0:
                spares.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
            while len(spares) < size:
                spares.append(os.dup(spares[0]))
        except OSError:
            return len(spares)
        return len(spares)

    def release(self, count: int) -> None:
        """Give up to `count` descriptor numbers back, for what is received next."""
        for _ in range(min(count, len(self._spares))):
            os.close(self._spares.pop())

    def close(self) -> None:
        """Give all back."""
        self.release(len(self._spares))
