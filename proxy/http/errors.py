"""What goes wrong with a request, whose fault it is, and the plain answer the client gets.

Rules: code raises, one place answers. A reason is a short snake_case label from this program,
never a peer's bytes, so it can be a metric label and a log field. An answer names its status
and the request id and nothing else: it never reflects what a peer sent.
"""

from __future__ import annotations

from typing import Final


class HttpError(Exception):
    """Root of this layer's errors. `reason` is a bounded label, safe for metrics."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RequestRefused(HttpError):
    """The client's request cannot be served; it is answered with `status`."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ResponseRefused(HttpError):
    """The backend's response breaks the protocol; the client is told 502."""


class FramingError(HttpError):
    """A body breaks its framing. Whose fault it is depends on the leg it was read from."""


class ClientGone(HttpError):
    """The client closed, reset or stopped reading: nobody is left to answer."""


class BackendFailed(HttpError):
    """The backend was not reached, failed or was too slow; answered with `status` if it still can.

    `resend` says that the request may be sent again on another connection (RFC 9110, 9.2.2).
    """

    def __init__(self, status: int, reason: str, *, resend: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.resend = resend


#: Every status this proxy answers with by itself. RFC 9110, section 15.
PHRASES: Final = {
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}

# RFC 9110, section 15.5.6: a 405 MUST name the methods that are allowed.
_EXTRA: Final = {405: b"Allow: GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS\r\n"}

_CONNECTION: Final = {
    (1, True): b"Connection: close\r\n",
    (0, True): b"Connection: close\r\n",
    (1, False): b"",
    (0, False): b"Connection: keep-alive\r\n",
}


def error_response(
    status: int,
    request_id: bytes,
    date: bytes,
    *,
    close: bool,
    head_only: bool = False,
    minor_version: int = 1,
) -> bytes:
    """The whole answer, head and text/plain body; `head_only` answers a HEAD request."""
    phrase = PHRASES[status]
    body = b"%d %b\nrequest id: %b\n" % (status, phrase, request_id)
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (status, phrase, date),
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n" % len(body),
            b"Cache-Control: no-store\r\nX-Request-Id: %b\r\n" % request_id,
            _EXTRA.get(status, b""),
            _CONNECTION[minor_version, close],
            b"\r\n",
            b"" if head_only else body,
        )
    )
