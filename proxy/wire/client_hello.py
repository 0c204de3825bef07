"""``struct ClientHello`` (RFC 8446, Section 4.1.2): one pass, no intermediate objects."""

from typing import Final, NamedTuple, cast

from proxy.wire.errors import DecodeError
from proxy.wire.extensions import KeyShareEntry, decode_extensions, u16_numbers
from proxy.wire.registry import ExtensionType

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


class ClientHello(NamedTuple):
    """A decoded ClientHello. A tuple, because one is built for every hello of a flood.

    ``message`` is the whole handshake message with its header, as the transcript hashes it.
    ``extensions`` holds decoded values by code point, raw bytes for those we do not know.
    """

    message: bytes
    legacy_version: int
    random: bytes
    session_id: bytes
    cipher_suites: tuple[int, ...]
    compression_methods: bytes
    extensions: dict[int, object]

    @classmethod
    def decode(cls, message: bytes) -> "ClientHello":
        """Decode a whole handshake message; ``DecodeError`` says what is malformed."""
        end = len(message)
        if end < 4 + 2 + 32 + 1:
            raise DecodeError("truncated_hello")
        position = 39 + message[38]
        if message[38] > 32 or position + 2 > end:
            raise DecodeError("bad_session_id")
        session_id = message[39:position]
        size = message[position] << 8 | message[position + 1]
        position += 2
        if size < 2 or size & 1 or position + size + 1 > end:
            raise DecodeError("bad_cipher_suites")
        suites = u16_numbers(size >> 1).unpack_from(message, position)
        position += size
        size = message[position]
        position += 1
        if size < 1 or position + size > end:
            raise DecodeError("bad_compression_methods")
        compression = message[position : position + size]
        position += size
        extensions: dict[int, object] = {}
        if position != end:  # before TLS 1.3 the block may be absent
            rest = end - position - 2
            if rest < 0 or (message[position] << 8 | message[position + 1]) != rest:
                raise DecodeError("bad_extensions")
            extensions = decode_extensions(message[position + 2 :])
        return cls(
            message,
            message[4] << 8 | message[5],
            message[6:38],
            session_id,
            suites,
            compression,
            extensions,
        )

    @property
    def server_name(self) -> bytes | None:
        """The host_name asked for (RFC 6066, Section 3), unchecked bytes."""
        return cast("bytes | None", self.extensions.get(_SERVER_NAME))

    @property
    def supported_versions(self) -> tuple[int, ...] | None:
        """The client's versions, or ``None`` where it sent no such extension."""
        found = self.extensions.get(_SUPPORTED_VERSIONS)
        return cast("tuple[int, ...] | None", found)

    @property
    def supported_groups(self) -> tuple[int, ...] | None:
        """The client's groups in its order of preference."""
        found = self.extensions.get(_SUPPORTED_GROUPS)
        return cast("tuple[int, ...] | None", found)

    @property
    def signature_algorithms(self) -> tuple[int, ...] | None:
        """Schemes the client verifies in CertificateVerify."""
        found = self.extensions.get(_SIGNATURE_ALGORITHMS)
        return cast("tuple[int, ...] | None", found)

    @property
    def signature_algorithms_cert(self) -> tuple[int, ...] | None:
        """Schemes the client verifies in certificates, where it differs from the above."""
        found = self.extensions.get(_SIGNATURE_ALGORITHMS_CERT)
        return cast("tuple[int, ...] | None", found)

    @property
    def key_shares(self) -> tuple[KeyShareEntry, ...] | None:
        """The client's key shares; an empty tuple asks for a HelloRetryRequest."""
        found = self.extensions.get(_KEY_SHARE)
        return cast("tuple[KeyShareEntry, ...] | None", found)

    @property
    def alpn(self) -> tuple[bytes, ...] | None:
        """The client's application protocols in its order of preference."""
        found = self.extensions.get(_ALPN)
        return cast("tuple[bytes, ...] | None", found)

    @property
    def cookie(self) -> bytes | None:
        """What a HelloRetryRequest told the client to echo."""
        return cast("bytes | None", self.extensions.get(_COOKIE))

    @property
    def early_data(self) -> bool:
        """Whether the client sends 0-RTT data behind this hello."""
        return _EARLY_DATA in self.extensions
