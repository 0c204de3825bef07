"""A second, independent reading of the hellos: slow, and spelled like the RFC's structs.

It shares no code with `proxy.wire`, so that the two check each other: whatever one of them takes,
the other has to take with the same values. Everything malformed is `Malformed`, without a reason.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "ClientReading",
    "Malformed",
    "ServerReading",
    "read_client_hello",
    "read_server_hello",
    "rebuilt",
]

COOKIE: Final = 44
EARLY_DATA: Final = 42
KEY_SHARE: Final = 51
PADDING: Final = 21
PRE_SHARED_KEY: Final = 41
PSK_MODES: Final = 45
SUPPORTED_VERSIONS: Final = 43


class Malformed(Exception):
    """Not the structure."""


class _Bytes:
    """What is left of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, count: int) -> bytes:
        if count > len(self.left):
            raise Malformed
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, prefix: int, least: int, most: int, multiple: int = 1) -> bytes:
        """``<least..most>`` of the RFC, in items of ``multiple`` bytes."""
        content = self.take(self.number(prefix))
        if not least <= len(content) <= most or len(content) % multiple:
            raise Malformed
        return content

    def end(self) -> None:
        if self.left:
            raise Malformed


@dataclass
class ClientReading:
    """``extensions`` are raw, in order; ``values`` those that the RFC gives a structure."""

    legacy_version: int
    random: bytes
    session_id: bytes
    cipher_suites: list[int]
    compression_methods: bytes
    extensions: list[tuple[int, bytes]]
    values: dict[int, object] = field(default_factory=dict)

    @property
    def shares(self) -> list[tuple[int, bytes]]:
        """Key shares; none where there is no such extension."""
        found = self.values.get(KEY_SHARE, [])
        assert isinstance(found, list)
        return found

    @property
    def numbers(self) -> list[int]:
        """The extensions' code points."""
        return [number for number, _ in self.extensions]


@dataclass
class ServerReading:
    """A ServerHello or HelloRetryRequest."""

    random: bytes
    session_id: bytes
    suite: int
    extensions: dict[int, bytes]


def _whole(content: bytes, prefix: int, least: int, most: int, multiple: int = 1) -> bytes:
    """One vector, and nothing behind it."""
    data = _Bytes(content)
    vector = data.vector(prefix, least, most, multiple)
    data.end()
    return vector


def _numbers(content: bytes) -> list[int]:
    return [int.from_bytes(content[at : at + 2]) for at in range(0, len(content), 2)]


def _number_list(content: bytes) -> list[int]:
    return _numbers(_whole(content, 2, 2, 0xFFFF, 2))


def _server_name(content: bytes) -> bytes | None:
    names = _Bytes(_whole(content, 2, 1, 0xFFFF))
    found: bytes | None = None
    while names.left:
        kind, name = names.number(1), names.vector(2, 0, 0xFFFF)
        if kind == 0:
            if found is not None or not name:
                raise Malformed
            found = name
    return found


def _protocols(content: bytes) -> list[bytes]:
    names, found = _Bytes(_whole(content, 2, 2, 0xFFFF)), []
    while names.left:
        found.append(names.vector(1, 1, 0xFF))
    return found


def _shares(content: bytes) -> list[tuple[int, bytes]]:
    entries, found = _Bytes(_whole(content, 2, 0, 0xFFFF)), []
    while entries.left:
        found.append((entries.number(2), entries.vector(2, 1, 0xFFFF)))
    return found


def _pre_shared_keys(content: bytes) -> bytes:
    data = _Bytes(content)
    identities = _Bytes(data.vector(2, 7, 0xFFFF))
    binders = _Bytes(data.vector(2, 33, 0xFFFF))
    data.end()
    while identities.left:
        identities.vector(2, 1, 0xFFFF)
        identities.number(4)
        binders.vector(1, 32, 0xFF)
    binders.end()
    return content


def _empty(content: bytes) -> bool:
    _Bytes(content).end()
    return True


_VALUES: Final[dict[int, Callable[[bytes], object]]] = {
    0: _server_name,
    10: _number_list,
    13: _number_list,
    16: _protocols,
    PRE_SHARED_KEY: _pre_shared_keys,
    EARLY_DATA: _empty,
    SUPPORTED_VERSIONS: lambda content: _numbers(_whole(content, 1, 2, 254, 2)),
    COOKIE: lambda content: _whole(content, 2, 1, 0xFFFF),
    PSK_MODES: lambda content: _whole(content, 1, 1, 0xFF),
    50: _number_list,
    KEY_SHARE: _shares,
}


def read_client_hello(message: bytes) -> ClientReading:
    """Read a handshake message whose header is right. Raises Malformed."""
    data = _Bytes(message[4:])
    hello = ClientReading(
        data.number(2),
        data.take(32),
        data.vector(1, 0, 32),
        _numbers(data.vector(2, 2, 0xFFFE, 2)),
        data.vector(1, 1, 0xFF),
        [],
    )
    if data.left:
        hello.extensions = _extensions(data)
    if len(set(hello.numbers)) != len(hello.numbers):
        raise Malformed
    if PRE_SHARED_KEY in hello.numbers[:-1]:
        raise Malformed
    for number, content in hello.extensions:
        hello.values[number] = _VALUES[number](content) if number in _VALUES else content
    return hello


def _extensions(data: _Bytes) -> list[tuple[int, bytes]]:
    block, found = _Bytes(data.vector(2, 0, 0xFFFF)), []
    data.end()
    while block.left:
        found.append((block.number(2), block.vector(2, 0, 0xFFFF)))
    return found


def read_server_hello(message: bytes) -> ServerReading:
    """Read a whole ServerHello or HelloRetryRequest with its header. Raises Malformed."""
    outer = _Bytes(message)
    if outer.number(1) != 2:
        raise Malformed
    data = _Bytes(outer.vector(3, 0, 0xFFFFFF))
    outer.end()
    if data.number(2) != 0x0303:
        raise Malformed
    random, session_id, suite = data.take(32), data.vector(1, 0, 32), data.number(2)
    if data.number(1) != 0:
        raise Malformed
    extensions = _extensions(data)
    if len(dict(extensions)) != len(extensions):
        raise Malformed
    return ServerReading(random, session_id, suite, dict(extensions))


def rebuilt(hello: ClientReading) -> bytes:
    """The handshake message of a reading, its raw extensions as they are; at most 2^24 bytes.

    Vectors that outgrow their prefix are cut, so that mutations always give a message.
    """
    block = b"".join(
        number.to_bytes(2) + _prefixed(content, 2) for number, content in hello.extensions
    )
    suites = b"".join(suite.to_bytes(2) for suite in hello.cipher_suites)
    body = (
        hello.legacy_version.to_bytes(2)
        + hello.random
        + _prefixed(hello.session_id, 1)
        + _prefixed(suites, 2)
        + _prefixed(hello.compression_methods, 1)
        + _prefixed(block, 2)
    )
    return b"\1" + len(body).to_bytes(3) + body


def _prefixed(content: bytes, prefix: int) -> bytes:
    cut = content[: (1 << 8 * prefix) - 1]
    return len(cut).to_bytes(prefix) + cut
