"""The heads that are sent on: what is removed, what is set, and in which order.

Rules: hop-by-hop fields and those that Connection names are removed (RFC 9110, section 7.6.1).
Host, framing, Forwarded, Via and the request id are always written by this proxy, so a client can
neither forge them nor have them removed by naming them in Connection. What is the same for every
request of a connection is prepared once. Heads are joined from the checked fields, never from the
peer's raw bytes.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Final

from proxy.http.field_lines import Field, Tokens
from proxy.http.head import RequestHead, ResponseHead
from proxy.http.record import ClientFacts
from proxy.http.settings import HttpSettings

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._\-]{1,128}")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# Options that name no field a sender may ask to remove: they have their own place in the head.
_NO_FIELD: Final[Tokens] = frozenset({b"keep-alive", b"close", b"upgrade", b"te", b""})

_NO_VIA: Final = (b"", b"")

_ID_BYTES: Final = 16
_IDS_AT_ONCE: Final = 128


class _RequestIds:
    """Random bits by the hundred: to ask the kernel costs more than an id."""

    __slots__ = ("_position", "_text")

    def __init__(self) -> None:
        self._text = b""
        self._position = 0

    def next(self) -> bytes:
        position = self._position
        if position == len(self._text):
            self._text = os.urandom(_ID_BYTES * _IDS_AT_ONCE).hex().encode("ascii")
            position = 0
        self._position = end = position + 2 * _ID_BYTES
        return self._text[position:end]


_request_ids = _RequestIds()


def new_request_id() -> bytes:
    """128 random bits in hex."""
    return _request_ids.next()


class RequestRewriter:
    """Turns the requests of one client connection into requests for a backend."""

    __slots__ = (
        "_address",
        "_append",
        "_around",
        "_for",
        "_forward",
        "_last",
        "_port",
        "_replaced",
        "_scheme",
        "_settings",
        "_via",
    )

    def __init__(self, client: ClientFacts, settings: HttpSettings) -> None:
        self._settings = settings
        self._forward = settings.forwarding != "off"
        self._append = settings.forwarding == "append"
        self._scheme = client.scheme.encode("ascii")
        self._for = _node(client.address)
        self._address = (client.address or "unknown").encode("ascii")
        self._port = port = client.listener_port
        self._replaced = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%b" % (
            self._address,
            self._scheme,
            b"X-Forwarded-Port: %d\r\n" % port if port else b"",
        )
        self._via = _NO_VIA if settings.via is None else _via_lines(settings.via)
        # What the last head was made of, and how it read before and behind its request id:
        # clients repeat themselves, and an equal head is nearly always the same object then.
        self._last: tuple[RequestHead, bytes, bool] | None = None
        self._around = (b"", b"")

    def request_id(self, head: RequestHead) -> bytes:
        """The client's own where it is trusted and well-formed, else a new one."""
        given = head.request_id if self._settings.trust_request_id else None
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return new_request_id()

    def head(
        self, head: RequestHead, request_id: bytes, host: bytes, *, upgrade: bool = False
    ) -> bytes:
        """The head for the backend, its empty line included. `host` becomes the Host field."""
        last = self._last
        if last is None or last[0] is not head or last[1] != host or last[2] is not upgrade:
            self._last = (head, host, upgrade)
            self._around = (self._before_id(head, host), self._behind_id(head, upgrade))
        return request_id.join(self._around)

    def _before_id(self, head: RequestHead, host: bytes) -> bytes:
        plain = end_to_end(head.plain, head.connection)
        return b"".join(
            (
                b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (head.method, head.form, host),
                b"\r\n".join(map(b": ".join, plain)),
                b"\r\n" if plain else b"",
                framing_lines(head.content_length, head.chunked),
                b"Expect: 100-continue\r\n" if head.expect_continue else b"",
                self._forwarded(head) if self._forward else b"",
                b"X-Request-Id: ",
            )
        )

    def _behind_id(self, head: RequestHead, upgrade: bool) -> bytes:
        via = self._via[head.minor_version]
        if not upgrade:
            return b"\r\n%b\r\n" % via
        asked = head.upgrade or b""
        return b"\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (via, asked)

    def _forwarded(self, head: RequestHead) -> bytes:
        """RFC 7239 and the fields that came before it."""
        if self._append and head.forwarding:
            return self._appended(head)
        authority = head.authority
        if authority is None:
            return b"%bForwarded: for=%b;proto=%b\r\n" % (self._replaced, self._for, self._scheme)
        return b"%bX-Forwarded-Host: %b\r\nForwarded: for=%b;host=%b;proto=%b\r\n" % (
            self._replaced,
            authority,
            self._for,
            _value(authority),
            self._scheme,
        )

    def _appended(self, head: RequestHead) -> bytes:
        """What a trusted proxy in front said, with the hop that this proxy saw at the end."""
        lists: dict[bytes, list[bytes]] = {b"x-forwarded-for": [], b"forwarded": []}
        kept: list[Field] = []
        for name, value in head.forwarding:
            known = lists.get(name.lower())
            if known is None:
                kept.append((name, value))
            elif value:
                known.append(value)
        lists[b"forwarded"].append(b"for=%b;proto=%b" % (self._for, self._scheme))
        lists[b"x-forwarded-for"].append(self._address)
        said = {name.lower() for name, _ in kept}
        if b"x-forwarded-proto" not in said:
            kept.append((b"X-Forwarded-Proto", self._scheme))
        if self._port and b"x-forwarded-port" not in said:
            kept.append((b"X-Forwarded-Port", b"%d" % self._port))
        if head.authority is not None and b"x-forwarded-host" not in said:
            kept.append((b"X-Forwarded-Host", head.authority))
        kept.append((b"X-Forwarded-For", b", ".join(lists[b"x-forwarded-for"])))
        kept.append((b"Forwarded", b", ".join(lists[b"forwarded"])))
        return b"\r\n".join(map(b": ".join, kept)) + b"\r\n"


def response_head(head: ResponseHead, date: bytes, *, framing: bytes, connection: bytes) -> bytes:
    """The head for the client, its empty line included; `framing` and `connection` are lines.

    The version is this proxy's own, to 1.0 clients too (RFC 9112, section 2.3).
    """
    plain = end_to_end(head.plain, head.connection)
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason),
            b"\r\n".join(map(b": ".join, plain)),
            b"\r\n" if plain else b"",
            # RFC 9110, section 6.6.1: a response without Date gets one when it is forwarded.
            b"" if head.dated or head.status < 200 else b"Date: %b\r\n" % date,
            framing,
            connection,
            b"\r\n",
        )
    )


def framing_lines(content_length: int | None, chunked: bool) -> bytes:
    """The one framing field of a message that is sent on, as this proxy understood it."""
    if chunked:
        return b"Transfer-Encoding: chunked\r\n"
    return b"" if content_length is None else b"Content-Length: %d\r\n" % content_length


def end_to_end(plain: tuple[Field, ...], connection: Tokens) -> tuple[Field, ...]:
    """`plain` without the fields that Connection names."""
    if not connection or connection <= _NO_FIELD:
        return plain
    return tuple(field for field in plain if field[0].lower() not in connection)


def offered_upgrade(head: RequestHead, allowed: frozenset[str]) -> bool:
    """Whether the Upgrade field is to be sent on.

    RFC 9110, section 7.8: ignored in HTTP/1.0 and without the Connection option. Ignored too for
    protocols that are not allowed and beside a body, whose end would have to be found while the
    protocol changes.
    """
    if head.upgrade is None or b"upgrade" not in head.connection or head.minor_version == 0:
        return False
    if head.chunked or head.content_length:
        return False
    return head.upgrade.lower().decode("latin-1") in allowed


@lru_cache(maxsize=16)
def _via_lines(name: str) -> tuple[bytes, bytes]:
    """RFC 9110, section 7.6.3: for a message received as HTTP/1.0 and as HTTP/1.1."""
    text = name.encode("ascii")
    return b"Via: 1.0 %b\r\n" % text, b"Via: 1.1 %b\r\n" % text


def _node(address: str | None) -> bytes:
    """RFC 7239, section 6: IPv6 in brackets and quotes."""
    if address is None:
        return b"unknown"
    return f'"[{address}]"'.encode("ascii") if ":" in address else address.encode("ascii")


def _value(text: bytes) -> bytes:
    """RFC 7239, section 4: a token as it is, else a quoted-string. Hosts hold no quotes."""
    return text if _TOKEN.fullmatch(text) else b'"%b"' % text
