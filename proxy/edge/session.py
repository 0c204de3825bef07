"""What a stream asks of the protocol that protects its bytes: TLS of ours, OpenSSL's, or none.

A session is sans-IO and synchronous. It sees every byte that arrives on the descriptor and makes
every byte that leaves by it; it owns neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from proxy.tls import ApplicationData, CloseNotify


class SessionError(Exception):
    """The peer broke the session's protocol, or ended it short.

    `reason` is a short snake_case label for metrics. An alert that is owed to the peer waits in
    `data_to_send()`. Nothing else may be asked of the session afterwards.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class Session(Protocol):
    """One established connection's protection, both directions."""

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        """Take bytes from the peer; `data` is only valid during the call.

        Raises SessionError.
        """

    def receive_view(self, data: memoryview, target: memoryview, /) -> tuple[memoryview, bool]:
        """As `receive`: all the plaintext in one piece, and whether the peer's end came.

        It may be a part of `data`, or of `target`, which has room for `data` and a record more.
        """

    def receive_eof(self) -> None:
        """The peer sent FIN. Raises SessionError if that truncates the stream."""

    def send(self, plaintext: bytes | memoryview, /) -> bytes | bytearray | memoryview:
        """The bytes that carry the plaintext to the peer. Raises SessionError.

        A view is of a buffer that is used again: it has to be sent or copied at once.
        """

    def close(self) -> bytes:
        """The bytes that say that nothing more will be sent; receiving goes on.

        RFC 8446, Section 6.1: close_notify ends one direction only.
        """

    def data_to_send(self) -> bytes:
        """What `receive` made us owe to the peer; empty nearly always."""


class PlainSession:
    """No protection: what arrives is plaintext, and FIN is a clean end."""

    __slots__ = ()

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        """Copy the bytes out of the caller's buffer."""
        return (ApplicationData(bytes(data)),)

    def receive_view(self, data: memoryview, _: memoryview, /) -> tuple[memoryview, bool]:
        """The bytes themselves."""
        return data, False

    def receive_eof(self) -> None:
        """FIN is how cleartext ends."""

    def send(self, plaintext: bytes | memoryview, /) -> bytes | memoryview:
        """The bytes themselves."""
        return plaintext

    def close(self) -> bytes:
        """Nothing: FIN says it."""
        return b""

    def data_to_send(self) -> bytes:
        """Nothing is ever owed."""
        return b""
