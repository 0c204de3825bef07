"""The TCP admin server's protocol: GET and HEAD of metrics and health, nothing else.

Rules: one request per connection; heads, times and connections are bounded; a request's body is not
read; nothing a client sends is echoed.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import httptools
import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.app.office import Office

__all__ = ["HttpAdmin"]

_log = structlog.get_logger("vestibule.admin")

_HEAD_LIMIT_BYTES = 8192
"""A scraper's head has a few hundred."""
_REQUEST_S = 5.0
"""For the whole head, and again for taking the answer: metrics are read on the local network."""
_CONNECTIONS = 64
"""At once: a few scrapers and probes; more wait in nobody's interest."""
_TEXT = "text/plain; charset=utf-8"


class _Head:
    """httptools' callbacks: the target, and whether the head is whole."""

    def __init__(self) -> None:
        self.url = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_headers_complete(self) -> None:
        self.complete = True


class HttpAdmin:
    """Answers admin requests over TCP."""

    head_limit = _HEAD_LIMIT_BYTES

    def __init__(self, office: Office) -> None:
        self._office = office
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end; never raises."""
        task = asyncio.current_task()
        if task is None or len(self._serving) >= _CONNECTIONS:
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await self._head(reader)
            answer = await self._answer(head)
            writer.write(answer)
            async with asyncio.timeout(_REQUEST_S):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        except Exception as error:
            _log.error("admin_request_failed", error=repr(error))
            writer.transport.abort()
        finally:
            self._serving.discard(task)

    async def close(self) -> None:
        """End what is being served."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _head(self, reader: asyncio.StreamReader) -> bytes | HTTPStatus:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    async def _answer(self, head: bytes | HTTPStatus) -> bytes:
        if isinstance(head, HTTPStatus):
            return _response(head)
        parsed = _parse(head)
        if parsed is None:
            return _response(HTTPStatus.BAD_REQUEST)
        method, path = parsed
        if path not in (b"/metrics", b"/healthz", b"/readyz"):
            return _response(HTTPStatus.NOT_FOUND)
        if method not in (b"GET", b"HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, fields="Allow: GET, HEAD\r\n")
        send_body = method == b"GET"
        if path == b"/metrics":
            body = await self._office.metrics()
            return _response(HTTPStatus.OK, body, CONTENT_TYPE_LATEST, send_body=send_body)
        judged = self._office.health()
        reason = judged.sick if path == b"/healthz" else judged.unready
        status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
        return _response(status, f"{reason or 'ok'}\n".encode(), send_body=send_body)


def _parse(data: bytes) -> tuple[bytes, bytes] | None:
    """Method and path, or None when it is not an HTTP/1 request head."""
    head = _Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT, or an Upgrade we do not offer: the method and path say enough
    except httptools.HttpParserError:
        return None
    try:
        url = httptools.parse_url(head.url)
    except httptools.HttpParserInvalidURLError:
        return None
    return (parser.get_method(), url.path or b"") if head.complete else None


def _response(
    status: HTTPStatus,
    body: bytes | None = None,
    content_type: str = _TEXT,
    *,
    fields: str = "",
    send_body: bool = True,
) -> bytes:
    if body is None:
        body = f"{status.value} {status.phrase}\n".encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{fields}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (body if send_body else b"")
