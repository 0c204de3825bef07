"""The Date field's value, made once per second."""

from __future__ import annotations

import time
from email.utils import formatdate


class HttpDate:
    """Remembers the text of the current second (RFC 9110, section 5.6.7)."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode("ascii")
        return self._text


_shared = HttpDate()


def http_date() -> bytes:
    """The current time as an HTTP-date."""
    return _shared.now()
