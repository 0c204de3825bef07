"""One attempt's connection to a backend: leased, written, read, settled.

Rules: it is settled once, by `complete` or `give_up`, and a server that failed before it answered
is marked for it. Failures become BackendFailed with the status that the client is told, and say
whether the request may be sent again. While the request body is still on its way a backend may be
silent; its read timeout counts from the end of the body.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from proxy.edge import Stream, StreamError
from proxy.http.body import RequestBody
from proxy.http.errors import BackendFailed, ClientGone, HttpError, ResponseRefused
from proxy.http.head import RequestHead, ResponseHead, head_end, parse_response_head
from proxy.http.settings import HttpSettings
from proxy.upstream import (
    Backend,
    ConnectTimeout,
    Lease,
    NoServerAvailable,
    ServerAddress,
    UpstreamError,
)

# RFC 9110, section 9.2.2. TRACE never gets here.
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})


async def lease_from(backend: Backend) -> Lease:
    """A connection to one of the group's servers. Raises BackendFailed 502, 503 or 504."""
    try:
        return await backend.acquire()
    except NoServerAvailable as error:
        raise BackendFailed(503, error.reason) from None
    except ConnectTimeout as error:
        raise BackendFailed(504, error.reason) from None
    except UpstreamError as error:
        raise BackendFailed(502, error.reason) from None


class BackendLeg:
    """A leased connection and what one request does with it."""

    __slots__ = (
        "_abandoned",
        "_answered",
        "_body",
        "_failed",
        "_idempotent",
        "_lease",
        "_read_timeout_s",
        "_settings",
        "_settled",
        "stream",
        "write_timeout_s",
    )

    def __init__(
        self,
        lease: Lease,
        backend: Backend,
        head: RequestHead,
        body: RequestBody,
        settings: HttpSettings,
    ) -> None:
        self._lease = lease
        self.stream = lease.stream
        self._read_timeout_s = backend.settings.read_timeout_s
        self.write_timeout_s = backend.settings.write_timeout_s
        self._idempotent = head.method in _IDEMPOTENT
        self._body = body
        self._settings = settings
        self._abandoned = False
        self._answered = False
        self._failed = False
        self._settled = False

    @property
    def host(self) -> bytes:
        """The server's own name, for requests that do not keep the client's Host."""
        return _host_field(self._lease.server)

    async def send(self, data: bytes) -> None:
        """The head and what is at hand of the body. Raises BackendFailed."""
        try:
            await self.stream.write(data, self.write_timeout_s)
        except TimeoutError:
            raise self._failure(504, "write_timeout") from None
        except StreamError as error:
            raise self._failure(502, error.reason, broken=True) from None

    async def read(self, sink: Stream | None = None) -> bytes | memoryview:
        """What the backend sends next, nothing at its clean end. Raises BackendFailed, ClientGone.

        `sink`: they are not copied on their way there, see `Stream.read_view`.
        """
        stream = self.stream
        wait_s = self._read_timeout_s
        while True:
            try:
                data = await (
                    stream.read(wait_s) if sink is None else stream.read_view(wait_s, sink)
                )
            except TimeoutError:
                if self._body.pending:
                    continue
                wait_s = self._body.finished_at + self._read_timeout_s - monotonic()
                if wait_s <= 0:
                    raise self._failure(504, "read_timeout") from None
            except StreamError as error:
                if self._abandoned:
                    raise ClientGone("client_closed") from None
                raise self._failure(502, error.reason, broken=True) from None
            else:
                if data:
                    self._answered = True
                return data

    async def response_head(self, data: bytes) -> tuple[ResponseHead, bytes]:
        """The next head, interim or final, and the bytes behind it; `data` came before.

        Raises BackendFailed.
        """
        searched = 0
        end = self._head_end(data, 0) if data else -1
        while end < 0:
            more = await self.read()
            if not more:
                raise self._failure(502, "closed", broken=True)
            searched, data = len(data), data + more
            end = self._head_end(data, searched)
        try:
            head = parse_response_head(data[:end], field_limit=self._settings.field_limit)
        except ResponseRefused as error:
            raise self.refused(error.reason) from None
        return head, data[end:]

    def _head_end(self, data: bytes, searched: int) -> int:
        try:
            end = head_end(data, searched)
        except HttpError as error:
            raise self.refused(error.reason) from None
        if (len(data) if end < 0 else end) > self._settings.head_limit_bytes:
            raise self.refused("response_head_too_large")
        return end

    def abandon(self) -> None:
        """The client has gone: nobody waits for the response any more."""
        if not self._settled:
            self._abandoned = True
            self.stream.abort()

    def refused(self, reason: str) -> BackendFailed:
        """The error for a response that breaks the protocol; it says nothing about health."""
        return BackendFailed(502, f"backend_{reason}")

    def complete(self, *, reusable: bool) -> None:
        """The response has ended; the connection is kept if it can carry another exchange."""
        if self._settled:
            return
        if not self._body.sent:
            self.give_up()
            return
        self._settled = True
        if reusable:
            self._lease.release()
        else:
            self._lease.responded()
            self._lease.discard()

    def give_up(self) -> None:
        """End the connection so that the backend cannot take the request for complete.

        Nothing happens if it was settled before.
        """
        if self._settled:
            return
        self._settled = True
        if self._failed:
            self._lease.failed()
            return
        if self._answered:
            self._lease.responded()
        self.stream.abort()
        self._lease.discard()

    def _failure(self, status: int, reason: str, *, broken: bool = False) -> BackendFailed:
        """The backend's fault; `broken`: by an end that a server may give an idle connection."""
        self._failed = not self._answered
        resend = broken and self._lease.reused and self._idempotent and not self._answered
        return BackendFailed(status, f"backend_{reason}", resend=resend)


def _host_field(server: ServerAddress) -> bytes:
    """RFC 9110, section 7.2, without a default port (section 4.2.3)."""
    if server.unix_path is not None:
        return b"localhost"
    host = f"[{server.host}]" if ":" in server.host else server.host
    default = 443 if server.scheme == "https" else 80
    text = host if server.port == default else f"{host}:{server.port}"
    return text.encode("ascii")
