"""Peers' text made safe to print.

Rules: what is returned has no control character, so it can neither begin a line of its own nor
speak to a terminal; it is bounded in length. Escapes are those of nginx's logs: `\\x1B`.
"""

from __future__ import annotations

import re

__all__ = ["bounded", "escaped", "escaped_bytes"]

# C0, DEL, C1, and the separators that str.splitlines and browsers take for line ends.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\\\\]")
_NOT_QUOTABLE = re.compile('[^\x20-\x7e]|["\\\\]')


def bounded(text: str, limit: int) -> str:
    """The text, cut to `limit` characters with a mark that it was."""
    return text if len(text) <= limit else text[:limit] + "..."


def escaped(text: str) -> str:
    """Printable text on one line; what is not ASCII stays as it is."""
    return _CONTROL.sub(_escape, text) if _CONTROL.search(text) else text


def escaped_bytes(data: bytes, limit: int) -> str:
    """Bytes as ASCII that may stand between double quotes, of at most `limit` bytes' worth."""
    text = bounded(data.decode("latin-1"), limit)
    return _NOT_QUOTABLE.sub(_escape, text) if _NOT_QUOTABLE.search(text) else text


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}"
