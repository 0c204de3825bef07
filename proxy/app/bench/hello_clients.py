"""Clients that say hello, take the answer, and then vanish or fall silent: thousands in a process.

Rules: a client counts as answered when the first byte that comes is a handshake record's; anything
else, an alert too, is a failure. Connections come from a few loopback addresses, so that ports do
not run out, and end by RST, so that none stays in TIME_WAIT.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Self

from proxy.app.bench.hello import Hellos

__all__ = ["Answers", "HelloClients"]

_HANDSHAKE = b"\x16"
_RESET = struct.pack("ii", 1, 0)
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); the socket module does not name it
_SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Answers:
    """How many clients were answered, and how many got something else or nothing."""

    done: int
    failed: int


class HelloClients:
    """All such clients of this process; `with` bounds the connections' life."""

    def __init__(self, port: int, hellos: Hellos) -> None:
        self._port = port
        self._hellos = hellos
        self._epoll = select.epoll()
        self._greeting: dict[int, socket.socket] = {}
        self._waiting: dict[int, socket.socket] = {}
        self._silent: list[socket.socket] = []
        self._opened = 0
        self._done = 0
        self._failed = 0

    def run(self, count: int, concurrency: int, seconds: float, *, hold: bool) -> Answers:
        """Have `count` clients say hello, as many at once; `hold` keeps the answered ones open.

        After `seconds` no further ones come, and as long again is waited for the last answers.
        """
        began = time.monotonic()
        while True:
            elapsed_s = time.monotonic() - began
            if elapsed_s < seconds:
                while self._opened < count and self._in_flight() < concurrency:
                    self._connect()
            if not self._in_flight():
                break
            if elapsed_s > 2 * seconds:
                self._failed += self._in_flight()
                break
            for descriptor, _ in self._epoll.poll(_TICK_S):
                self._advance(descriptor, hold=hold)
        return Answers(self._done, self._failed)

    def _in_flight(self) -> int:
        return len(self._greeting) + len(self._waiting)

    def _connect(self) -> None:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.bind((_SOURCES[self._opened % len(_SOURCES)], 0))
        client.connect_ex(("127.0.0.1", self._port))
        self._opened += 1
        self._greeting[client.fileno()] = client
        self._epoll.register(client.fileno(), select.EPOLLOUT)

    def _advance(self, descriptor: int, *, hold: bool) -> None:
        client = self._greeting.pop(descriptor, None)
        if client is not None:
            self._greet(client)
            return
        client = self._waiting.pop(descriptor)
        self._epoll.unregister(descriptor)
        try:
            answer = client.recv(65536)
        except OSError:
            answer = b""
        if answer[:1] != _HANDSHAKE:
            self._failed += 1
            client.close()
            return
        self._done += 1
        if hold:
            self._silent.append(client)
        else:
            client.close()

    def _greet(self, client: socket.socket) -> None:
        try:
            client.send(self._hellos.take())
        except OSError:
            self._failed += 1
            client.close()
            return
        self._waiting[client.fileno()] = client
        self._epoll.modify(client.fileno(), select.EPOLLIN)

    def close(self) -> None:
        """Reset all connections."""
        for client in (*self._greeting.values(), *self._waiting.values(), *self._silent):
            client.close()
        self._epoll.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
