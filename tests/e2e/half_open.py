"""Clients that say hello, read the answer, and then nothing more: thousands in one process.

    python -m tests.e2e.half_open PORT COUNT SOURCE SNI KIND

Opens COUNT connections to 127.0.0.1:PORT from addresses SOURCE and above, sends a hello on each
(of KIND `small` or `browser`; every one with its own random, session id and key shares) and writes
two JSON lines: one when all are answered, one when the server has ended all of them. Standard
input's end stops it before that.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from proxy.wire import NamedGroup
from tests.e2e.deployment import LIMIT_S
from tests.tls.hello import Hello, Share

__all__ = ["SIZES", "Answered", "Ended", "HalfOpenClients", "hello_maker"]

SIZES = {"small": 300, "browser": 2013}
"""Bytes of a hello with its record header; the second is what Chromium 156 sends."""

_AT_ONCE = 64
_PER_SOURCE = 4096
"""Connections from one address: far below the range of ephemeral ports."""
_LONGEST_S = 60.0
_PADDING = 21  # RFC 7685
_RANDOM_AT = 5 + 4 + 2
_RESET = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); the socket module does not name it
_HANDSHAKE = b"\x16"


@dataclass(frozen=True, slots=True)
class Answered:
    """All clients have the server's flight, or failed."""

    answered: int
    failed: int
    seconds: float
    hello_bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The server has ended the connections; times are seconds from a client's answer."""

    ended: int
    first_s: float
    last_s: float


def hello_maker(kind: str, server_name: str) -> Callable[[], bytes]:
    """Makes hellos of the kind, no two alike in what must be fresh."""
    x25519 = Share(NamedGroup.X25519, os.urandom(32), lambda _: b"")
    shares = [x25519]
    if kind == "browser":
        hybrid = os.urandom(1184) + os.urandom(32)
        shares.insert(0, Share(NamedGroup.X25519MLKEM768, hybrid, lambda _: b""))
    hello = Hello(
        random=os.urandom(32),
        session_id=os.urandom(32),
        shares=shares,
        server_name=server_name.encode(),
        alpn=[b"http/1.1"],
    )
    hello.extra = [(_PADDING, bytes(SIZES[kind] - len(hello.records()) - 4))]
    template = bytearray(hello.records())
    assert len(template) == SIZES[kind]
    places = [template.index(share.key_exchange) for share in shares]

    def make() -> bytes:
        template[_RANDOM_AT : _RANDOM_AT + 32] = os.urandom(32)
        template[_RANDOM_AT + 33 : _RANDOM_AT + 65] = os.urandom(32)
        for share, at in zip(shares, places, strict=True):
            size = len(share.key_exchange)
            # Any 32 bytes are an X25519 key; an ML-KEM key has to be a real one.
            key = (
                b"" if size == 32 else MLKEM768PrivateKey.generate().public_key().public_bytes_raw()
            )
            template[at : at + size] = key + os.urandom(32)
        return bytes(template)

    return make


class HalfOpenClients:
    """One such process; `with` bounds its life."""

    def __init__(
        self, port: int, count: int, source: str, kind: str, *, server_name: str = "localhost"
    ) -> None:
        command = [sys.executable, "-m", "tests.e2e.half_open", str(port), str(count), source]
        self._process = subprocess.Popen(
            [*command, server_name, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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

    def __init__(self, port: int, source: str, hellos: Sequence[bytes]) -> None:
        self._port = port
        self._count = len(hellos)
        self._source = int.from_bytes(socket.inet_aton(source))
        self._hellos = hellos
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._said_hello: set[int] = set()
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
        seconds = time.monotonic() - began
        return Answered(len(self._answered_at), self._failed, seconds, len(self._hellos[0]))

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
        """The next step of a client that has no answer yet."""
        if descriptor not in self._said_hello:
            self._sockets[descriptor].send(self._hellos[len(self._said_hello)])
            self._said_hello.add(descriptor)
            self._epoll.modify(descriptor, select.EPOLLIN)
        elif self._receive(descriptor)[:1] == _HANDSHAKE:
            self._answered_at[descriptor] = time.monotonic()
        else:
            self._failed += 1
            self._epoll.unregister(descriptor)

    def _receive(self, descriptor: int) -> bytes:
        """What came; nothing at the end."""
        try:
            return self._sockets[descriptor].recv(65536)
        except ConnectionResetError:
            return b""


def _main(port: str, count: str, source: str, server_name: str, kind: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    make = hello_maker(kind, server_name)
    # Made beforehand: the proxy shares this machine's cores with us.
    clients = _Clients(int(port), source, [make() for _ in range(int(count))])
    print(json.dumps(asdict(clients.open())), flush=True)  # noqa: T201
    print(json.dumps(asdict(clients.hold(sys.stdin.fileno()))), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main(*sys.argv[1:])
