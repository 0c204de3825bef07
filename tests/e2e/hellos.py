"""ClientHellos by the thousand, as bytes: of three kinds, each with its second hello.

Rules: what is fresh in every hello of a real client is fresh in each of these, so that no server
answers one from what it did for the last; nobody here could finish a handshake, since the private
halves of the keys are never made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from proxy.wire import HELLO_RETRY_REQUEST_RANDOM, ExtensionType, NamedGroup
from tests.tls.hello import Hello, Share, extension

__all__ = ["Hellos", "Pair", "is_retry", "second_hello"]

_SIZES = {"small": 300, "browser": 2013, "shareless": 300}
"""Kinds, with the bytes of a hello and its record's header. `browser` is what Chromium 156 sends;
`shareless` brings no key share, so that whoever answers has to ask for a second hello, this one."""

_PADDING = 21  # RFC 7685
_RANDOM_AT = 5 + 4 + 2
_SESSION_ID_AT = _RANDOM_AT + 32 + 1
_KEY_BYTES = 32
_HANDSHAKE = 0x16
_UNKNOWN_SUITE = 0x0A0A  # RFC 8701


@dataclass(frozen=True, slots=True)
class Pair:
    """A client's two hellos, the second without the cookie that it will have to bring."""

    first: bytes
    second: bytes


class Hellos:
    """A supply of hellos for one server name; `padding` and unknown `suites` make them larger."""

    def __init__(
        self, kind: str, server_name: str = "localhost", *, padding: int = 0, suites: int = 0
    ) -> None:
        x25519 = Share(NamedGroup.X25519, os.urandom(_KEY_BYTES), lambda _: b"")
        shares = [x25519]
        if kind == "browser":
            hybrid = os.urandom(1184) + os.urandom(_KEY_BYTES)
            shares.insert(0, Share(NamedGroup.X25519MLKEM768, hybrid, lambda _: b""))
        hello = Hello(
            random=os.urandom(32),
            session_id=os.urandom(32),
            shares=shares,
            server_name=server_name.encode(),
            alpn=[b"http/1.1"],
        )
        if kind == "shareless":
            hello.groups = [NamedGroup.X25519]
        hello.extra = [(_PADDING, bytes(_SIZES[kind] - len(hello.records()) - 4 + padding))]
        hello.suites = [*hello.suites, *[_UNKNOWN_SUITE] * suites]
        self._second = bytearray(hello.records())
        self._places = [
            (len(share.key_exchange), self._second.index(share.key_exchange)) for share in shares
        ]
        self._first = self._second
        if kind == "shareless":
            hello.shares = ()
            self._first = bytearray(hello.records())

    def make(self) -> Pair:
        """Hellos that were never sent before."""
        second = self._second
        for size, at in self._places:
            second[at : at + size] = _key(size)
        fresh = os.urandom(32), os.urandom(32)
        for one in (self._first, second):
            one[_RANDOM_AT : _RANDOM_AT + 32], one[_SESSION_ID_AT : _SESSION_ID_AT + 32] = fresh
        made = bytes(second)
        return Pair(made if self._first is second else bytes(self._first), made)


def is_retry(answer: bytes) -> bool:
    """Whether this is a HelloRetryRequest."""
    random = answer[_RANDOM_AT : _RANDOM_AT + 32]
    return answer[:1] == bytes([_HANDSHAKE]) and random == HELLO_RETRY_REQUEST_RANDOM


def second_hello(pair: Pair, retry: bytes) -> bytes:
    """What answers a HelloRetryRequest: the second hello with its cookie as the last extension."""
    cookie = extension(ExtensionType.COOKIE, _cookie(retry))
    hello = bytearray(pair.second + cookie)
    more = len(cookie)
    block = _extensions_at(hello)
    # The lengths of the record, the message and the extensions.
    for at, size in ((3, 2), (6, 3), (block, 2)):
        hello[at : at + size] = (int.from_bytes(hello[at : at + size]) + more).to_bytes(size)
    return bytes(hello)


def _key(size: int) -> bytes:
    """Any 32 bytes are an X25519 key; an ML-KEM key, which stands before one, has to be real."""
    if size == _KEY_BYTES:
        return os.urandom(_KEY_BYTES)
    real = MLKEM768PrivateKey.generate().public_key().public_bytes_raw()
    return real + os.urandom(_KEY_BYTES)


def _extensions_at(hello: bytes | bytearray) -> int:
    """Where a hello's extensions begin, with their length."""
    at = _SESSION_ID_AT + hello[_SESSION_ID_AT - 1]
    at += 2 + int.from_bytes(hello[at : at + 2])
    return at + 1 + hello[at]


def _cookie(retry: bytes) -> bytes:
    """The cookie extension's content."""
    at = _SESSION_ID_AT + retry[_SESSION_ID_AT - 1] + 3
    end = at + 2 + int.from_bytes(retry[at : at + 2])
    at += 2
    while at < end:
        number, size = int.from_bytes(retry[at : at + 2]), int.from_bytes(retry[at + 2 : at + 4])
        if number == ExtensionType.COOKIE:
            return retry[at + 4 : at + 4 + size]
        at += 4 + size
    raise ValueError("a HelloRetryRequest without a cookie")
