"""The two bodies of an exchange on their way, each at its own pace.

Rules: what a peer sends is read only as fast as the other takes it. Once a byte of a request body
was consumed the request cannot be sent again. A backend that stops reading one is not an error
here: it may have answered early, and the response decides. What is not chunked passes through in
views of what was received; chunks are read as bytes, fewer at a time, since they are copied anyway.
"""

from __future__ import annotations

from time import monotonic

from proxy.edge import Stream, StreamError
from proxy.http.errors import BackendFailed, ClientGone, FramingError, RequestRefused
from proxy.http.framing import COMPLETE, Bytes, Chunked, Framing, UntilClose, encode


class RequestBody:
    """The body of one request: what was consumed of it and what is still to come."""

    __slots__ = (
        "_chunked",
        "_framing",
        "_limit",
        "_payload_bytes",
        "finished_at",
        "received",
        "sent",
        "stopped",
    )

    def __init__(self, framing: Framing, limit: int | None) -> None:
        """`limit` bounds the payload in bytes; None: unbounded."""
        self._framing = framing
        self._chunked = isinstance(framing, Chunked)
        self._limit = limit
        self._payload_bytes = 0
        self.received = 0
        """Bytes consumed from the client, chunk lines included."""
        self.sent = False
        """All of it has been sent on."""
        self.stopped = False
        """The backend takes no more of it."""
        self.finished_at = 0.0
        """Monotonic time at which a streamed body was sent or stopped."""

    @property
    def complete(self) -> bool:
        """The client has sent all of it."""
        return self._framing.complete

    @property
    def pending(self) -> bool:
        """More is to be sent and the backend still takes it."""
        return not self.sent and not self.stopped

    def take(self, data: Bytes) -> tuple[Bytes, bytes]:
        """Bytes from the client: what is to be sent on, and what lies behind the body's end.

        What is sent on may be a part of `data`.

        Raises RequestRefused: 400 for bad framing, 413 beyond the limit.
        """
        try:
            payload, self._framing, leftover = self._framing.advance(data)
        except FramingError as error:
            raise RequestRefused(400, error.reason) from None
        self.received += len(data) - len(leftover)
        self._payload_bytes += len(payload)
        if self._limit is not None and self._payload_bytes > self._limit:
            raise RequestRefused(413, "body_too_large")
        return encode(payload, chunked=self._chunked, last=self.complete), bytes(leftover)

    async def stream(
        self, client: Stream, backend: Stream, read_timeout_s: float, write_timeout_s: float
    ) -> None:
        """Relay what is to come until the body ends or the backend takes no more.

        Bytes behind the end go back to `client`. Raises RequestRefused, ClientGone, BackendFailed.
        """
        while not self._framing.complete:
            encoded, leftover = self.take(await self._read(client, backend, read_timeout_s))
            if leftover:
                client.unread(leftover)
            if not encoded:
                continue
            try:
                await backend.write(encoded, write_timeout_s)
            except StreamError:
                self.stopped = True
                self.finished_at = monotonic()
                return
            except TimeoutError:
                raise BackendFailed(504, "backend_write_timeout") from None
        self.sent = True
        self.finished_at = monotonic()

    async def _read(self, client: Stream, backend: Stream, timeout_s: float) -> Bytes:
        try:
            if self._chunked:
                data: Bytes = await client.read(timeout_s)
            else:
                data = await client.read_view(timeout_s, backend)
        except TimeoutError:
            raise RequestRefused(408, "body_timeout") from None
        except StreamError as error:
            raise ClientGone(f"client_{error.reason}") from None
        if not data:
            # RFC 9112, section 8: the request is incomplete; a half-closed client can read 400.
            raise RequestRefused(400, "body_truncated")
        return data


class ResponseBody:
    """The body of one response, from the backend's framing to the client's."""

    __slots__ = ("_chunked", "_framing", "_surplus", "_until_close", "in_views")

    def __init__(self, framing: Framing, *, chunked: bool) -> None:
        """`framing` is the backend's; `chunked` says that the client gets chunks."""
        self._framing = framing
        self._chunked = chunked
        self.in_views = not isinstance(framing, Chunked)
        """`take` gains by a view of the backend's bytes."""
        self._until_close = isinstance(framing, UntilClose)
        self._surplus = False

    @property
    def complete(self) -> bool:
        """The backend has sent all of it."""
        return self._framing.complete

    @property
    def delimited(self) -> bool:
        """It ended where it said, and nothing came behind it: the connection can go on."""
        return not self._until_close and not self._surplus

    def take(self, data: Bytes) -> Bytes:
        """Bytes from the backend, as they are sent on: maybe a part. Raises BackendFailed."""
        try:
            payload, self._framing, leftover = self._framing.advance(data)
        except FramingError as error:
            raise BackendFailed(502, f"backend_{error.reason}") from None
        self._surplus = bool(leftover)
        return encode(payload, chunked=self._chunked, last=self.complete)

    def end(self) -> Bytes:
        """The backend closed; what ends the body for the client. Raises BackendFailed."""
        try:
            self._framing.end()
        except FramingError as error:
            raise BackendFailed(502, f"backend_{error.reason}") from None
        self._framing = COMPLETE
        return encode(b"", chunked=self._chunked, last=True)
