"""Clients that say hello, read the answer, and then nothing more: thousands in one process.

    python -m tests.e2e.half_open PORT COUNT SOURCE SNI KIND MOMENT

Opens COUNT connections to 127.0.0.1:PORT from addresses SOURCE and above and sends a hello of KIND
on each. At MOMENT `first` they fall silent whatever the answer is; at `second` those who are asked
to say hello again do so first, with the cookie. Two JSON lines are written: one when all have had
their last answer, one when the server has ended all of them. Standard input's end stops it before
that.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from tests.e2e.deployment import LIMIT_S
from tests.e2e.hellos import Hellos, Pair, is_retry, second_hello

__all__ = ["FIRST", "SECOND", "Answered", "Ended", "HalfOpenClients"]

FIRST, SECOND = "first", "second"
"""Behind which hello they fall silent."""

_AT_ONCE = 64
_PER_SOURCE = 4096
"""Connections from one address: far below the range of ephemeral ports."""
_LONGEST_S = 60.0
_RESET = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); the socket module does not name it
_HANDSHAKE = b"\x16"


@dataclass(frozen=True, slots=True)
class Answered:
    """All clients have their last answer, or failed."""

    answered: int
    retried: int
    """Of these, who was answered by a HelloRetryRequest first."""
    failed: int
    seconds: float
    hello_bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The server has ended the connections; times are seconds from a client's answer."""

    ended: int
    first_s: float
    last_s: float


class HalfOpenClients:
    """One such process; `with` bounds its life."""

    def __init__(
        self,
        port: int,
        count: int,
        source: str,
        kind: str,
        *,
        moment: str = FIRST,
        server_name: str = "localhost",
    ) -> None:
        command = [sys.executable, "-m", "tests.e2e.half_open", str(port), str(count), source]
        self._process = subprocess.Popen(
            [*command, server_name, kind, moment],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answered(self) -> Answered:
        """Wait until all have their answer."""
        return Answered(**self._line())

    def ended(self) -> Ended:
        """Wait until the server has ended all of them."""
        return Ended(**self._line())

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=LIMIT_S)


class _Clients:
    """All connections of this process."""

    def __init__(self, port: int, source: str, pairs: Sequence[Pair], moment: str) -> None:
        self._port = port
        self._count = len(pairs)
        self._source = int.from_bytes(socket.inet_aton(source))
        self._pairs = pairs
        self._echoes = moment == SECOND
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._said: dict[int, Pair] = {}
        self._retried: set[int] = set()
        self._answered_at: dict[int, float] = {}
        self._failed = 0

    def open(self) -> Answered:
        """Open all, a few at a time."""
        began = time.monotonic()
        while len(self._answered_at) + self._failed < self._count:
            done = len(self._answered_at) + self._failed
            while len(self._sockets) < min(self._count, done + _AT_ONCE):
                self._connect(len(self._sockets))
            for descriptor, _ in self._epoll.poll(_LONGEST_S):
                if descriptor not in self._answered_at:
                    self._advance(descriptor)
        answered, retried = len(self._answered_at), len(self._retried)
        seconds = time.monotonic() - began
        return Answered(answered, retried, self._failed, seconds, len(self._pairs[0].first))

    def hold(self, stdin: int) -> Ended:
        """Stay silent until the server has ended every connection, or the input ends."""
        self._epoll.register(stdin, select.EPOLLIN)
        held_s: list[float] = []
        while len(held_s) < len(self._answered_at):
            for descriptor, _ in self._epoll.poll(_LONGEST_S):
                if descriptor == stdin:
                    return Ended(len(held_s), 0.0, 0.0)
                if not self._receive(descriptor):
                    held_s.append(time.monotonic() - self._answered_at[descriptor])
                    self._epoll.unregister(descriptor)
        return Ended(len(held_s), min(held_s), max(held_s))

    def _connect(self, number: int) -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        source = (self._source + number // _PER_SOURCE).to_bytes(4)
        client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.bind((socket.inet_ntoa(source), 0))
        client.connect_ex(("127.0.0.1", self._port))
        self._sockets[client.fileno()] = client
        self._epoll.register(client.fileno(), select.EPOLLOUT)

    def _advance(self, descriptor: int) -> None:
        """The next step of a client that has not had its last answer."""
        pair = self._said.get(descriptor)
        if pair is None:
            pair = self._said[descriptor] = self._pairs[len(self._said)]
            self._sockets[descriptor].send(pair.first)
            self._epoll.modify(descriptor, select.EPOLLIN)
            return
        received = self._receive(descriptor)
        if received[:1] != _HANDSHAKE:
            self._failed += 1
            self._epoll.unregister(descriptor)
            return
        if is_retry(received):
            self._retried.add(descriptor)
            if self._echoes:
                self._sockets[descriptor].send(second_hello(pair, received))
                return
        self._answered_at[descriptor] = time.monotonic()

    def _receive(self, descriptor: int) -> bytes:
        """What came; nothing at the end."""
        try:
            return self._sockets[descriptor].recv(65536)
        except ConnectionResetError:
            return b""


def _main(port: str, count: str, source: str, server_name: str, kind: str, moment: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    hellos = Hellos(kind, server_name)
    # Made beforehand: the proxy shares this machine's cores with us.
    clients = _Clients(int(port), source, [hellos.make() for _ in range(int(count))], moment)
    print(json.dumps(asdict(clients.open())), flush=True)  # noqa: T201
    print(json.dumps(asdict(clients.hold(sys.stdin.fileno()))), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main(*sys.argv[1:])
