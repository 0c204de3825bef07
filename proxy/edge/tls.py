"""`TlsSession`: our own TLS connection as a stream's session."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.edge.buffers import PLAINTEXT_BYTES, buffers
from proxy.edge.session import SessionError
from proxy.tls import ApplicationData, CloseNotify, Connection, TlsError

# More than one record.
_BULK = 16384 + 1


class TlsSession:
    """Turns the engine's errors into a session's: the reason, and the alert that is owed."""

    __slots__ = ("_alert", "_on_failure", "_sealed", "connection")

    def __init__(
        self, connection: Connection, on_failure: Callable[[TlsError], None] | None = None
    ) -> None:
        """`on_failure` is told of the record or message that broke the connection, to count it."""
        self.connection = connection
        """The engine, for its facts and for `export` after the stream was detached."""
        self._alert: bytes | None = None
        self._on_failure = on_failure
        self._sealed = buffers.sealed

    def receive(self, data: memoryview, /) -> Sequence[ApplicationData | CloseNotify]:
        """Open records. Raises SessionError."""
        try:
            return self.connection.receive(data)
        except TlsError as error:
            raise self._failed(error) from error

    def receive_view(self, data: memoryview, target: memoryview, /) -> tuple[memoryview, bool]:
        """Open records into `target`. Raises SessionError."""
        try:
            size = self.connection.receive_into(data, target)
        except TlsError as error:
            raise self._failed(error) from error
        return target[:size], self.connection.closed_by_peer

    def receive_eof(self) -> None:
        """RFC 8446, Section 6.1: FIN without close_notify is a truncation."""
        try:
            self.connection.receive_eof()
        except TlsError as error:
            raise SessionError("truncated") from error

    def send(self, plaintext: bytes | memoryview, /) -> bytes | bytearray | memoryview:
        """Seal records. Raises SessionError."""
        try:
            size = len(plaintext)
            if size < _BULK or size > PLAINTEXT_BYTES:
                return self.connection.send(plaintext)
            size = self.connection.send_into(memoryview(plaintext), self._sealed)
            return self._sealed[:size]
        except TlsError as error:
            raise self._failed(error) from error

    def close(self) -> bytes:
        """Our close_notify; nothing where the key may not protect another record."""
        try:
            return self.connection.close()
        except TlsError:
            return b""

    def data_to_send(self) -> bytes:
        """A KeyUpdate answer; after a failure its alert, once."""
        if self._alert is None:
            return self.connection.data_to_send()
        alert, self._alert = self._alert, b""
        return alert

    def _failed(self, error: TlsError) -> SessionError:
        self._alert = self.connection.alert(error)
        if self._on_failure is not None:
            self._on_failure(error)
        return SessionError(error.reason)
