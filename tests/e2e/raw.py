"""A TLS client on a socket that can be stopped, and go wrong, at any byte of the handshake."""

from __future__ import annotations

import copy
import socket
import struct
from typing import Self

from proxy.wire import AlertDescription, ContentType
from tests.e2e.deployment import LIMIT_S
from tests.tls.client import Client
from tests.tls.hello import hello

__all__ = ["REQUEST", "Ended", "RawClient"]

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Ended(ConnectionError):
    """The server has closed the connection where something was to come."""


class RawClient:
    """One connection to 127.0.0.1; `with` bounds its life."""

    def __init__(
        self,
        port: int,
        *,
        source: str = "127.0.0.1",
        source_port: int = 0,
        name: str = "localhost",
    ) -> None:
        self.tls = Client(hello(server_name=name.encode()))
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=LIMIT_S, source_address=(source, source_port)
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def greet(self) -> Self:
        """Send the hello and check the server's flight."""
        self.send(self.tls.start())
        self.take_flight()
        return self

    def take_flight(self) -> None:
        """Read and check the server's flight."""
        received = b""
        while True:
            part = self.socket.recv(65536)
            if not part:
                raise Ended("in the handshake")
            received += part
            whole = copy.copy(self.tls)
            try:
                whole.receive(received)
            except (AssertionError, ValueError):
                continue  # not all of it yet
            self.tls = whole
            return

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.socket.sendall(data)

    def request(self) -> bytes:
        """Ask for the page; the beginning of the answer."""
        self.send(self.tls.send(REQUEST))
        return self.tls.text(self.record())

    def alert(self) -> AlertDescription:
        """The alert that the server sends under the application keys before it closes."""
        ((kind, content),) = self.tls.open(self.record())
        assert kind == ContentType.ALERT
        assert self.is_closed()
        return AlertDescription(content[1])

    def is_closed(self) -> bool:
        """Wait for the server's end; whether it came without another byte."""
        try:
            return self.socket.recv(65536) == b""
        except ConnectionResetError:
            return True

    def record(self) -> bytes:
        """The next record."""
        data = self._exactly(5)
        return data + self._exactly(int.from_bytes(data[3:]))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Ended("before a record was whole")
            data += part
        return data

    def close(self) -> None:
        """Close at once."""
        self.socket.close()

    def reset(self) -> None:
        """Close by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
