"""Clients that can be stopped between any two steps of a connection, whatever the answer policy.

Rules: a step that the server's end makes impossible raises OSError (`Ended` is one), so that
"what is lost" is one except clause; every wait is bounded.
"""

from __future__ import annotations

import copy
import socket
import ssl
from dataclasses import replace
from typing import Self

from proxy.wire import HELLO_RETRY_REQUEST_RANDOM
from tests.e2e.deployment import LIMIT_S
from tests.e2e.raw import REQUEST, Ended, RawClient

__all__ = ["KeepAlive", "StepClient"]

_RANDOM_AT = 5 + 4 + 2
_HEAD_END = b"\r\n\r\n"


class StepClient(RawClient):
    """A client that may have to say hello twice: `hello`, `answer`, `flight`, `reply`, `status`."""

    retried = False
    """Whether it was asked to."""
    keyless = False
    """Whether the front cannot sign: then a worker answers the second hello."""

    def hello(self) -> Self:
        """Send the first hello."""
        self.send(self.tls.start())
        return self

    def answer(self) -> Self:
        """Read the answer to the first hello: the whole flight, or a HelloRetryRequest."""
        first = self.record()
        self.retried = first[_RANDOM_AT : _RANDOM_AT + 32] == HELLO_RETRY_REQUEST_RANDOM
        if self.retried:
            self.tls.retry(first)
        else:
            self._flight(first)
        return self

    def again(self) -> Self:
        """Send the second hello, if there was a retry."""
        if self.retried:
            self.send(self.tls.again(replace(self.tls.hello, cookie=self.tls.cookie)))
        return self

    def flight(self) -> Self:
        """Go on to where the server waits for our reply."""
        self.again()
        if self.retried:
            self._flight(self.record())
        return self

    def until_offered(self) -> Self:
        """Everything that a front wants of a client before it offers the connection to workers."""
        self.hello().answer()
        return self.again() if self.keyless else self.flight().reply()

    def once_accepted(self) -> int:
        """What follows that: the status of the first response."""
        if self.keyless:
            self._flight(self.record())
            self.reply()
        return self.status()

    def greet(self) -> Self:
        """Everything up to the server's flight."""
        return self.hello().answer().flight()

    def reply(self, request: bytes = REQUEST) -> Self:
        """Send Finished and, in the same segment, a request."""
        self.send(self.tls.finish() + self.tls.send(request))
        return self

    def status(self) -> int:
        """The status of the next response, which is read to its end."""
        text = b""
        while _HEAD_END not in text:
            text += self.text()
        head, _, body = text.partition(_HEAD_END)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields[b"content-length"])
        while len(body) < size:
            body += self.text()
        return int(head.split()[1])

    def text(self) -> bytes:
        """The application data of the next record. Raises Ended where an alert comes instead."""
        found = self.tls.text(self.record())
        if not found:
            raise Ended("by an alert")
        return found

    def _flight(self, received: bytes) -> None:
        """ServerHello is the first of the records; the others follow one by one."""
        while True:
            received += self.record()
            whole = copy.copy(self.tls)
            try:
                whole.receive(received)
            except ValueError:
                continue  # messages are missing yet
            self.tls = whole
            return


class KeepAlive:
    """An established client that asks now and then; OpenSSL's TLS, so any answer policy."""

    def __init__(self, port: int, context: ssl.SSLContext, *, buffer_bytes: int = 0) -> None:
        plain = socket.socket()
        try:
            plain.settimeout(LIMIT_S)
            if buffer_bytes:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            plain.connect(("127.0.0.1", port))
            self.socket = context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise
        self._received = b""

    def ask(self, path: str = "/") -> bytes:
        """One request: the body of its answer."""
        return self.begin(path).rest()

    def begin(self, path: str) -> Self:
        """Send a request and read no more than the beginning of its answer."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self._received = self._some()
        return self

    def rest(self) -> bytes:
        """The body of the answer that has begun."""
        while _HEAD_END not in self._received:
            self._received += self._some()
        head, _, first = self._received.partition(_HEAD_END)
        status, *lines = head.split(b"\r\n")
        assert b" 200 " in status, status
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        size, parts, found = int(fields[b"content-length"]), [first], len(first)
        while found < size:
            parts.append(self._some())
            found += len(parts[-1])
        return b"".join(parts)

    def _some(self) -> bytes:
        part = self.socket.recv(65536)
        if not part:
            raise Ended("in the middle of an answer")
        return part

    def close(self) -> None:
        """Close at once."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
