"""What can end a stream other than its clean end, and the bounded set of labels for it."""

from __future__ import annotations

import asyncio
import errno

# Labels of metrics: a bounded set, whatever errno the kernel finds.
_REASONS = {
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "broken_pipe",
    errno.ETIMEDOUT: "tcp_timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENOBUFS: "no_buffers",
    errno.ENOMEM: "no_buffers",
}

CLOSED = "closed"
"""The stream was closed on our side."""

INTERNAL_ERROR = "internal_error"
"""A defect of ours, confined to the stream it showed in."""


class StreamError(Exception):
    """The connection ended other than cleanly.

    `reason` is a short snake_case label for metrics: `reset`, `truncated`, `closed`, ... or what
    the session gave for a failure of its own.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def reason_of(error: OSError) -> str:
    """The label for an error of the socket."""
    return _REASONS.get(error.errno or 0, "socket_error")


def report(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    """Hand a defect of ours to the loop's exception handler, which logs it."""
    loop.call_exception_handler({"message": "stream callback failed", "exception": error})
