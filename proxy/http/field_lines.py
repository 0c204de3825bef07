"""The field lines of a head: read by llhttp, then sorted by what a proxy does with them.

llhttp is given the head's bytes only. It also takes things that a gateway must not, and how many
depends on its version, so what smuggling rests on is refused here first: bare CR and LF, NUL,
obs-fold (RFC 9112, sections 2.2 and 5.2). There is no dict of fields: each goes into the bin of
its kind, and what nothing here reads goes into PLAIN, which is sent on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import httptools

from proxy.http.errors import HttpError

Field = tuple[bytes, bytes]
Tokens = frozenset[bytes]
Bins = list[list[Field]]

PLAIN: Final = 0
HOST: Final = 1
CONTENT_LENGTH: Final = 2
TRANSFER_ENCODING: Final = 3
CONNECTION: Final = 4
UPGRADE: Final = 5
EXPECT: Final = 6
REQUEST_ID: Final = 7
FORWARDING: Final = 8
DATE: Final = 9
HOP_BY_HOP: Final = 10
_BINS: Final = 11

# RFC 9110, section 7.6.1, lists what an intermediary removes even if Connection does not name it.
_HOP_BY_HOP_NAMES: Final = (
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"http2-settings",
)
# What backends believe about the client; it is this proxy that says it. Every other field called
# X-Forwarded-* is one too: user, prefix, client certificate and what else applications believe.
_FORWARDING_PREFIX: Final = b"x-forwarded-"
_FORWARDING_NAMES: Final = (
    b"forwarded",
    b"x-real-ip",
)
_SHARED_KINDS: Final = {
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"connection": CONNECTION,
    b"upgrade": UPGRADE,
    **dict.fromkeys(_HOP_BY_HOP_NAMES, HOP_BY_HOP),
}
REQUEST_KINDS: Final = {
    **_SHARED_KINDS,
    b"host": HOST,
    b"expect": EXPECT,
    b"x-request-id": REQUEST_ID,
    **dict.fromkeys(_FORWARDING_NAMES, FORWARDING),
}
RESPONSE_KINDS: Final = {**_SHARED_KINDS, b"date": DATE}

_NO_TOKENS: Final[Tokens] = frozenset()
_COMMON_TOKENS: Final[dict[bytes, Tokens]] = {
    b"keep-alive": frozenset({b"keep-alive"}),
    b"Keep-Alive": frozenset({b"keep-alive"}),
    b"close": frozenset({b"close"}),
    b"Upgrade": frozenset({b"upgrade"}),
}


class _Collector:
    """llhttp's callbacks."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


def field_lines(
    parser: type[httptools.HttpRequestParser] | type[httptools.HttpResponseParser],
    head: bytes,
    limit: int,
) -> tuple[Field, ...]:
    """The field lines of `head`. Raises HttpError, or llhttp's error for an unknown method."""
    lines = head.count(b"\r\n")
    if lines - 2 > limit:
        raise HttpError("too_many_fields")
    # RFC 9112, section 2.2: a bare CR is invalid; RFC 9110, section 5.5: so are LF and NUL.
    if head.count(b"\r") != lines or head.count(b"\n") != lines or b"\0" in head:
        raise HttpError("bad_octet_in_head")
    # RFC 9112, section 5.2: a request with obs-fold is answered 400, a response may be given up.
    if b"\r\n " in head or b"\r\n\t" in head:
        raise HttpError("obs_fold")
    collector = _Collector()
    try:
        parser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        raise
    except httptools.HttpParserError:
        raise HttpError("bad_head") from None
    # Every line became one field, or two readers of this head could disagree.
    if len(collector.fields) != lines - 2:
        raise HttpError("bad_head")
    # RFC 9112, section 5.1: white space around a value is no part of it. llhttp leaves what
    # follows the value; it is rare.
    if b" \r\n" in head or b"\t\r\n" in head:
        return tuple((name, value.strip(b" \t")) for name, value in collector.fields)
    return tuple(collector.fields)


def sort_fields(fields: Iterable[Field], kinds: dict[bytes, int]) -> Bins:
    """Every field in the bin of its kind, in order; `bins[PLAIN]` has those of no kind."""
    bins: Bins = [[] for _ in range(_BINS)]
    kind = kinds.get
    asked = kinds is REQUEST_KINDS
    for field in fields:
        name = field[0].lower()
        number = kind(name)
        if number is None:
            number = FORWARDING if asked and name.startswith(_FORWARDING_PREFIX) else PLAIN
        bins[number].append(field)
    return bins


def imitates(name: bytes) -> bool:
    """Whether CGI-like backends would take `name` ("X_Forwarded_For") for a field we own."""
    meant = name.lower().replace(b"_", b"-")
    return meant in REQUEST_KINDS or meant.startswith(_FORWARDING_PREFIX)


def values(fields: list[Field]) -> list[bytes]:
    """The values alone."""
    return [field[1] for field in fields]


def joined(fields: list[Field]) -> bytes | None:
    """RFC 9110, section 5.3: several lines of a list are one; None if there is no line."""
    return b", ".join(values(fields)) if fields else None


def tokens(fields: list[Field]) -> Tokens:
    """The members of a list of tokens, lower case."""
    if not fields:
        return _NO_TOKENS
    if len(fields) == 1:
        known = _COMMON_TOKENS.get(fields[0][1])
        if known is not None:
            return known
    return frozenset(
        token.strip(b" \t") for field in fields for token in field[1].lower().split(b",")
    )
