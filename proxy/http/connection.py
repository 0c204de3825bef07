"""A client connection: requests read one after the other and served until it ends.

Rules: a request is read only when the one before it is done, so pipelined requests are answered in
order. Waiting for a request costs nothing but the read; `drain` ends that wait, and lets a request
that has begun finish. Whatever the client sends ends in an answer or a close.
"""

from __future__ import annotations

import asyncio
import re
from time import monotonic
from typing import Any, Final

from proxy.edge import Stream, StreamError
from proxy.http.client_leg import ClientLeg
from proxy.http.errors import ClientGone, HttpError, RequestRefused
from proxy.http.exchange import Exchange
from proxy.http.fields import new_request_id
from proxy.http.head import check_request_start, head_end, parse_request_head
from proxy.http.journal import Journal
from proxy.http.record import ClientFacts, Observer
from proxy.http.routes import RouteTable
from proxy.http.settings import HttpSettings

# RFC 9112, section 2.2: empty lines before a request line are ignored.
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")


class HttpConnection:
    """Serves one client connection; owns its stream."""

    __slots__ = ("_client", "_ending", "_idle", "_task")

    def __init__(
        self,
        client: Stream,
        facts: ClientFacts,
        routes: RouteTable,
        settings: HttpSettings,
        observer: Observer,
    ) -> None:
        self._client = ClientLeg(client, facts, routes, settings, observer)
        self._task: asyncio.Task[Any] | None = None
        self._idle = False
        self._ending = False

    def drain(self) -> None:
        """Finish the request that has begun, say `Connection: close`, and end; if idle, end now.

        A tunnel goes on until it ends or the task is cancelled.
        """
        self._client.draining = True
        if self._idle and not self._ending and self._task is not None:
            self._ending = True
            self._task.cancel()

    async def run(self) -> None:
        """Until the connection has ended; the stream is closed then. Raises nothing of a peer's."""
        self._task = asyncio.current_task()
        try:
            while await self._serve_one():
                pass
            await self._close()
        except Exception as error:
            self._client.observer.defect(error)
        finally:
            self._client.stream.abort()

    async def _close(self) -> None:
        """A slow client gets its last answer whole; only one that takes nothing is cut off."""
        stream, settings = self._client.stream, self._client.settings
        if stream.unsent:
            try:
                await stream.drain(settings.client_write_timeout_s)
            except (StreamError, TimeoutError):
                return
        await stream.aclose(settings.lingering_timeout_s)

    async def _serve_one(self) -> bool:
        """Whether another request may follow."""
        client = self._client
        first = await self._first_bytes()
        if not first:
            return False
        journal = Journal(b"", monotonic())
        try:
            block, rest = await self._read_head(first, journal)
            settings = client.settings
            head = parse_request_head(
                block,
                line_limit=settings.request_line_limit_bytes,
                field_limit=settings.field_limit,
            )
            journal.head = head
            journal.request_id = client.rewriter.request_id(head)
            return await Exchange(client, head, journal).run(rest)
        except RequestRefused as error:
            await self._refuse(journal, error.status, error.reason)
        except ClientGone as error:
            journal.reason = journal.close = error.reason
        except Exception as error:
            client.observer.defect(error)
            await self._refuse(journal, 500, "internal_error")
        finally:
            client.finish(journal)
        return False

    async def _first_bytes(self) -> bytes:
        """What a request begins with; empty when there will be none."""
        client = self._client
        if not client.stream.quiet:
            # Pipelined requests are served without a wait, but not without a turn for others.
            # A first request too: new connections are all opened, then all served, and what is
            # done for many in a row costs less than by turns.
            await asyncio.sleep(0)
        if client.draining:
            return await self._bytes_at_hand()
        self._idle = True
        try:
            return await client.stream.read(client.settings.idle_timeout_s)
        except asyncio.CancelledError:
            if not self._ending or self._task is None or self._task.uncancel():
                raise
        except (TimeoutError, StreamError):
            return b""
        finally:
            self._idle = False
        return await self._bytes_at_hand()

    async def _bytes_at_hand(self) -> bytes:
        """A request that came before the client could hear of `drain` is still served."""
        try:
            return await self._client.stream.read(0.0)
        except (TimeoutError, StreamError):
            return b""

    async def _read_head(self, data: bytes, journal: Journal) -> tuple[bytes, bytes]:
        """The next head and what came behind it. Raises RequestRefused and ClientGone."""
        settings = self._client.settings
        deadline = journal.started + settings.request_head_timeout_s
        searched = 0
        while True:
            if data.startswith(b"\r\n"):
                data = _EMPTY_LINES.sub(b"", data, count=1)
            end = _head_end(data, searched, settings)
            if end >= 0:
                journal.request_bytes = end
                return data[:end], data[end:]
            searched = len(data)
            data += await self._more(deadline)

    async def _more(self, deadline: float) -> bytes:
        client = self._client
        try:
            remaining_s = deadline - monotonic()
            if remaining_s <= 0:
                # Where bytes never stop coming (empty lines) no read times out.
                raise TimeoutError
            data = await client.stream.read(remaining_s)
        except TimeoutError:
            raise RequestRefused(408, "request_head_timeout") from None
        except StreamError as error:
            raise ClientGone(f"client_{error.reason}") from None
        if not data:
            raise ClientGone("client_closed")
        return data

    async def _refuse(self, journal: Journal, status: int, reason: str) -> None:
        journal.reason = journal.close = reason
        if journal.status:
            self._client.stream.abort()
            return
        journal.request_id = journal.request_id or new_request_id()
        try:
            await self._client.refuse(journal, status, consumed=False)
        except ClientGone as error:
            journal.close = error.reason


async def serve_http(
    client: Stream,
    facts: ClientFacts,
    routes: RouteTable,
    settings: HttpSettings,
    observer: Observer,
) -> None:
    """Serve one client connection to its end; for those who never drain it."""
    await HttpConnection(client, facts, routes, settings, observer).run()


def _head_end(data: bytes, searched: int, settings: HttpSettings) -> int:
    """`head_end` within the limits. Raises RequestRefused 400, 414 or 431."""
    try:
        end = head_end(data, searched)
    except HttpError as error:
        raise RequestRefused(400, error.reason) from None
    size = len(data) if end < 0 else end
    limit = settings.request_line_limit_bytes
    if size > limit and data.find(b"\r\n", 0, limit + 2) < 0:
        raise RequestRefused(414, "request_line_too_long")
    if size > settings.head_limit_bytes:
        raise RequestRefused(431, "head_too_large")
    if end < 0:
        check_request_start(data)
    return end
