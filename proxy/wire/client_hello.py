"""``struct ClientHello`` (RFC 8446, Section 4.1.2): one pass, no intermediate objects.

Of a hello whose shape came before, only what differs is decoded (see ``shapes``).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from proxy.wire.errors import DecodeError
from proxy.wire.extensions import (
    KeyShareEntry,
    Span,
    decode_changeable,
    u16_numbers,
    walk,
)
from proxy.wire.registry import ExtensionType
from proxy.wire.shapes import Shape, recall, remember

__all__ = ["ClientHello"]

# Plain numbers: an enum's member costs more to name than the dictionary costs to search.
_SERVER_NAME: Final = int(ExtensionType.SERVER_NAME)
_SUPPORTED_VERSIONS: Final = int(ExtensionType.SUPPORTED_VERSIONS)
_SUPPORTED_GROUPS: Final = int(ExtensionType.SUPPORTED_GROUPS)
_SIGNATURE_ALGORITHMS: Final = int(ExtensionType.SIGNATURE_ALGORITHMS)
_SIGNATURE_ALGORITHMS_CERT: Final = int(ExtensionType.SIGNATURE_ALGORITHMS_CERT)
_KEY_SHARE: Final = int(ExtensionType.KEY_SHARE)
_ALPN: Final = int(ExtensionType.APPLICATION_LAYER_PROTOCOL_NEGOTIATION)
_COOKIE: Final = int(ExtensionType.COOKIE)
_EARLY_DATA: Final = int(ExtensionType.EARLY_DATA)
# As with extensions: clients repeat their list of suites, and none may make us remember much.
_REMEMBERED: Final = 256
_REMEMBERED_SIZE: Final = 256


def _suites(data: bytes) -> tuple[int, ...]:
    return u16_numbers(len(data) >> 1).unpack(data)


_remembered_suites: Final = lru_cache(_REMEMBERED)(_suites)


def _decode(message: bytes, position: int) -> Shape:
    """Decode what is behind the session ID, which ends at ``position``."""
    end = len(message)
    if message[38] > 32 or position + 2 > end:
        raise DecodeError("bad_session_id")
    size = message[position] << 8 | message[position + 1]
    position += 2
    if size < 2 or size & 1 or position + size + 1 > end:
        raise DecodeError("bad_cipher_suites")
    suites = (_remembered_suites if size <= _REMEMBERED_SIZE else _suites)(
        message[position : position + size]
    )
    position += size
    size = message[position]
    position += 1
    if size < 1 or position + size > end:
        raise DecodeError("bad_compression_methods")
    compression = message[position : position + size]
    position += size
    if position != end:  # before TLS 1.3 the block may be absent
        rest = end - position - 2
        if rest < 0 or (message[position] << 8 | message[position + 1]) != rest:
            raise DecodeError("bad_extensions")
        position += 2
    extensions, changeable = walk(message, position)
    return Shape(suites, compression, extensions, position, changeable)


class ClientHello(NamedTuple):
    """A decoded ClientHello. A tuple, because one is built for every hello of a flood.

    ``message`` is the whole handshake message with its header, as the transcript hashes it.
    ``extensions`` holds decoded values by code point, raw bytes for those we do not know.
    ``extensions_start`` is where the first of them is in the message, ``changeable`` where those
    are that a second hello may change (RFC 8446, Section 4.1.2).
    """

    message: bytes
    session_id: bytes
    cipher_suites: tuple[int, ...]
    compression_methods: bytes
    extensions: Mapping[int, Any]
    extensions_start: int
    changeable: tuple[Span, ...]

    @classmethod
    def decode(cls, message: bytes) -> "ClientHello":
        """Decode a whole handshake message; ``DecodeError`` says what is malformed."""
        if len(message) < 4 + 2 + 32 + 1:
            raise DecodeError("truncated_hello")
        position = 39 + message[38]
        shape = recall(message)
        if shape is None:
            shape = _decode(message, position)
            remember(message, shape)
            extensions = shape.extensions
        else:
            extensions = decode_changeable(message, shape.changeable, shape.extensions)
        return cls(
            message,
            message[39:position],
            shape.cipher_suites,
            shape.compression_methods,
            extensions,
            shape.extensions_start,
            shape.changeable,
        )

    @property
    def legacy_version(self) -> int:
        """What the client says for servers before TLS 1.3."""
        message = self.message
        return message[4] << 8 | message[5]

    @property
    def random(self) -> bytes:
        """The client's 32 random bytes."""
        return self.message[6:38]

    @property
    def server_name(self) -> bytes | None:
        """The host_name asked for (RFC 6066, Section 3), unchecked bytes."""
        found: bytes | None = self.extensions.get(_SERVER_NAME)
        return found

    @property
    def supported_versions(self) -> tuple[int, ...] | None:
        """The client's versions, or ``None`` where it sent no such extension."""
        found: tuple[int, ...] | None = self.extensions.get(_SUPPORTED_VERSIONS)
        return found

    @property
    def supported_groups(self) -> tuple[int, ...] | None:
        """The client's groups in its order of preference."""
        found: tuple[int, ...] | None = self.extensions.get(_SUPPORTED_GROUPS)
        return found

    @property
    def signature_algorithms(self) -> tuple[int, ...] | None:
        """Schemes the client verifies in CertificateVerify."""
        found: tuple[int, ...] | None = self.extensions.get(_SIGNATURE_ALGORITHMS)
        return found

    @property
    def signature_algorithms_cert(self) -> tuple[int, ...] | None:
        """Schemes the client verifies in certificates, where it differs from the above."""
        found: tuple[int, ...] | None = self.extensions.get(_SIGNATURE_ALGORITHMS_CERT)
        return found

    @property
    def key_shares(self) -> tuple[KeyShareEntry, ...] | None:
        """The client's key shares; an empty tuple asks for a HelloRetryRequest."""
        found: tuple[KeyShareEntry, ...] | None = self.extensions.get(_KEY_SHARE)
        return found

    @property
    def alpn(self) -> tuple[bytes, ...] | None:
        """The client's application protocols in its order of preference."""
        found: tuple[bytes, ...] | None = self.extensions.get(_ALPN)
        return found

    @property
    def cookie(self) -> bytes | None:
        """What a HelloRetryRequest told the client to echo."""
        found: bytes | None = self.extensions.get(_COOKIE)
        return found

    @property
    def early_data(self) -> bool:
        """Whether the client sends 0-RTT data behind this hello."""
        return _EARLY_DATA in self.extensions
