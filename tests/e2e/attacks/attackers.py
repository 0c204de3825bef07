"""What one connection of an attack does, and which attacks there are.

Rules: an attacker is sans-IO: it is told what happened on its connection and says what to send, or
`LEAVE`. It costs its owner less than its victim, or measures the owner: bytes are made beforehand
wherever the protocol allows it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from proxy.tls import HELLO_LIMIT
from proxy.tls.defaults import DATA_PER_KEY_UPDATE
from proxy.wire import (
    ContentType,
    HandshakeType,
    KeyUpdateRequest,
    handshake,
    plaintext_records,
)
from tests.e2e.hellos import Hellos, Pair, is_retry, second_hello
from tests.tls.client import Client

__all__ = ["ATTACKS", "LEAVE", "Attack", "Attacker", "Established"]

LEAVE = None
"""Instead of bytes: close the connection by a reset, and let the next one come."""

ONE_SOURCE = ("127.0.0.1",)
MANY_SOURCES = tuple(f"127.0.1.{number}" for number in range(1, 251))

_HEADER_BYTES = 5
_FRAGMENTS = 1000
_JUNK_BYTES = 64
_CHUNK_BYTES = 8192

TOLERATED = 32
"""KeyUpdates, or empty records, that a connection may send in a row."""
PAID = (TOLERATED, TOLERATED * DATA_PER_KEY_UPDATE)
"""KeyUpdates, and the data that pays for them."""

_U16_MAX = (1 << 16) - 1

_hellos = Hellos("small")
_fragmented = Hellos("small", padding=_FRAGMENTS)


class Attacker:
    """A connection that says hello and goes on by what comes."""

    def __init__(self) -> None:
        self._pair = self.pair()

    def pair(self) -> Pair:
        """Its hellos."""
        return _hellos.make()

    def connected(self) -> bytes | None:
        """What to send at first."""
        return self._pair.first

    def received(self, data: bytes) -> bytes | None:
        """What to send on this."""
        return LEAVE

    def tick(self) -> bytes:
        """What to send now and then."""
        return b""

    def sent(self) -> bytes:
        """What to send when everything has gone out."""
        return b""


class Silent(Attacker):
    """Says nothing more."""

    def received(self, data: bytes) -> bytes | None:
        return b""


class Echo(Attacker):
    """Brings the cookie back, and leaves with the flight."""

    def received(self, data: bytes) -> bytes | None:
        if is_retry(data):
            return second_hello(self._pair, data)
        return LEAVE


class JunkReply(Echo):
    """Answers the flight with something that is no reply, and waits for the server's end."""

    _kinds = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self._replied = False

    def received(self, data: bytes) -> bytes | None:
        if self._replied:
            return LEAVE
        if is_retry(data):
            return second_hello(self._pair, data)
        self._replied = True
        return self._junk(next(self._kinds) % 4)

    def _junk(self, kind: int) -> bytes:
        if kind == 0:
            return _record(ContentType.APPLICATION_DATA, os.urandom(_JUNK_BYTES))
        if kind == 1:
            return _record(ContentType.APPLICATION_DATA, os.urandom(16384))
        if kind == 2:
            finished = handshake(HandshakeType.FINISHED, os.urandom(32))
            return _record(ContentType.HANDSHAKE, finished)
        # As many as are ignored (RFC 8446, 5), before what is not.
        return _record(ContentType.CHANGE_CIPHER_SPEC, b"\1") * 8 + self._junk(0)


class SlowHello(Attacker):
    """Sends a byte of its hello now and then, but never the last one."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = iter(self._pair.first[:-1])

    def connected(self) -> bytes | None:
        return self.tick()

    def tick(self) -> bytes:
        return bytes(itertools.islice(self._bytes, 1))


class GiantHello(Attacker):
    """Every other time as large as a legal hello can be, and larger than is taken in between."""

    _numbers = itertools.count()

    def pair(self) -> Pair:
        return _TOO_LARGE if next(self._numbers) % 2 else _largest.make()


class FragmentedHello(Attacker):
    """Each byte of a hello in a record of its own."""

    def connected(self) -> bytes | None:
        message = self._pair.first[_HEADER_BYTES:]
        records = bytearray(b"\x16\x03\x01\0\1\0" * len(message))
        records[_HEADER_BYTES :: _HEADER_BYTES + 1] = message
        return bytes(records)

    def pair(self) -> Pair:
        return _fragmented.make()


class Passer(Attacker):
    """Goes as soon as it has come."""

    def connected(self) -> bytes | None:
        return LEAVE


class Established(Attacker):
    """Has completed its handshake, and floods the connection with records that say nothing.

    `allowed` of these are followed by `data_bytes` of a request's body, and so on without end.
    """

    request = b"PUT /upload/flood HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    """What is asked at first: the body has room for the bytes."""

    def __init__(self, seal: Callable[[Client], bytes], allowed: int, data_bytes: int = 1) -> None:
        super().__init__()
        self._seal = seal
        self._data = bytes(data_bytes)
        self._allowed = allowed
        self._tls = Client()

    def establish(self, tls: Client) -> None:
        """The connection's keys; the request has been sent."""
        self._tls = tls

    def connected(self) -> bytes | None:
        return self.sent()

    def sent(self) -> bytes:
        chunk = b""
        while len(chunk) < _CHUNK_BYTES:
            chunk += b"".join(self._seal(self._tls) for _ in range(self._allowed))
            chunk += self._tls.send(self._data)
        return chunk

    def received(self, data: bytes) -> bytes | None:
        return b""  # an answer, an alert: what counts is whether the server ends it


def _key_update(tls: Client) -> bytes:
    return tls.key_update(KeyUpdateRequest.UPDATE_REQUESTED)


def _empty(tls: Client) -> bytes:
    return tls.sealer.seal(ContentType.APPLICATION_DATA, b"")


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack as the driver carries it out."""

    attacker: Callable[[], Attacker]
    connections: int = 64
    """At any time; who goes is replaced at once."""
    sources: tuple[str, ...] = MANY_SOURCES
    tick_s: float | None = None
    """How often each connection is told that time has passed."""
    reset: bool = True
    """Whether attackers leave by RST instead of FIN."""


ATTACKS: dict[str, Attack] = {
    "hellos": Attack(Attacker),
    "silence": Attack(Silent, connections=1000),
    "hellos_with_cookies": Attack(Echo),
    "junk_replies": Attack(JunkReply),
    "slow_hellos": Attack(SlowHello, connections=400, tick_s=0.1),
    "giant_hellos": Attack(GiantHello, connections=16),
    "fragmented_hellos": Attack(FragmentedHello, connections=16),
    "churn_of_one": Attack(Passer, sources=ONE_SOURCE),
    "churn_of_many": Attack(Passer, reset=False),
    "key_updates": Attack(partial(Established, _key_update, TOLERATED + 1), connections=8),
    "empty_records": Attack(partial(Established, _empty, TOLERATED + 1), connections=8),
    "tolerated_key_updates": Attack(partial(Established, _key_update, *PAID), connections=8),
    "tolerated_empty_records": Attack(partial(Established, _empty, TOLERATED), connections=8),
}


def _record(kind: ContentType, fragment: bytes) -> bytes:
    return bytes((kind, 3, 3)) + len(fragment).to_bytes(2) + fragment


def _largest_hellos() -> Hellos:
    """Fill cipher suites and extensions up to what their lengths can say."""
    message = _hellos.make().first[_HEADER_BYTES:]
    suites_at = 4 + 2 + 32 + 1 + message[4 + 2 + 32]
    suites_bytes = int.from_bytes(message[suites_at : suites_at + 2])
    block_at = suites_at + 2 + suites_bytes + 2
    block_bytes = int.from_bytes(message[block_at : block_at + 2])
    return Hellos(
        "small", padding=_U16_MAX - block_bytes, suites=(_U16_MAX - 1 - suites_bytes) // 2
    )


def _too_large() -> Pair:
    """Says of itself that it is longer than what is taken, and is."""
    message = handshake(HandshakeType.CLIENT_HELLO, bytes(HELLO_LIMIT))
    records = plaintext_records(ContentType.HANDSHAKE, message)
    return Pair(records, records)


_largest = _largest_hellos()
_TOO_LARGE = _too_large()
