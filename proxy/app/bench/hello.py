"""ClientHellos for load: one template, of which each copy has its own random, session id and key.

Rule: what is fresh in every hello of a real client is fresh here, so that no server can answer from
what it did for the last one. Keys are made without their private halves, which nobody here needs:
any 32 bytes are an X25519 public key (RFC 7748, Section 5).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from proxy.wire import (
    CipherSuite,
    ContentType,
    ExtensionType,
    HandshakeType,
    NamedGroup,
    ProtocolVersion,
    SignatureScheme,
    extension,
    handshake,
    plaintext_records,
    u8_vector,
    u16_vector,
)

__all__ = ["HELLO_BYTES", "Hellos"]

HELLO_BYTES = 300
"""With the record's header: what OpenSSL's clients send for a short name."""

_PADDING = 21  # RFC 7685
_KEY_BYTES = 32
_RANDOM_AT = 5 + 4 + 2
_SESSION_ID_AT = _RANDOM_AT + 32 + 1
_SUITES = (
    CipherSuite.TLS_AES_128_GCM_SHA256,
    CipherSuite.TLS_AES_256_GCM_SHA384,
    CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
)
_GROUPS = (NamedGroup.X25519, NamedGroup.SECP256R1)
_SCHEMES = (
    SignatureScheme.ECDSA_SECP256R1_SHA256,
    SignatureScheme.RSA_PSS_RSAE_SHA256,
    SignatureScheme.RSA_PKCS1_SHA256,
)


class Hellos:
    """A supply of hellos for one server name."""

    def __init__(self, server_name: str) -> None:
        key = os.urandom(_KEY_BYTES)
        bare = _records(_extensions(server_name, key))
        padding = _PADDING.to_bytes(2) + u16_vector(bytes(HELLO_BYTES - len(bare) - 4))
        self._template = bytearray(_records(_extensions(server_name, key) + padding))
        self._key_at = self._template.index(key)

    def take(self) -> bytes:
        """A hello that was never sent before."""
        template = self._template
        template[_RANDOM_AT : _RANDOM_AT + 32] = os.urandom(32)
        template[_SESSION_ID_AT : _SESSION_ID_AT + 32] = os.urandom(32)
        template[self._key_at : self._key_at + _KEY_BYTES] = os.urandom(_KEY_BYTES)
        return bytes(template)


def _extensions(server_name: str, key: bytes) -> bytes:
    kinds = ExtensionType
    versions = u8_vector(_packed([ProtocolVersion.TLS_1_3]))
    share = NamedGroup.X25519.to_bytes(2) + u16_vector(key)
    host = u16_vector(b"\0" + u16_vector(server_name.encode("ascii")))
    return b"".join(
        (
            extension(kinds.SERVER_NAME, host),
            extension(kinds.SUPPORTED_VERSIONS, versions),
            extension(kinds.SUPPORTED_GROUPS, u16_vector(_packed(_GROUPS))),
            extension(kinds.SIGNATURE_ALGORITHMS, u16_vector(_packed(_SCHEMES))),
            extension(kinds.KEY_SHARE, u16_vector(share)),
        )
    )


def _records(extensions: bytes) -> bytes:
    body = (
        ProtocolVersion.TLS_1_2.to_bytes(2)
        + os.urandom(32)
        + u8_vector(os.urandom(32))
        + u16_vector(_packed(_SUITES))
        + u8_vector(b"\0")
        + u16_vector(extensions)
    )
    return plaintext_records(ContentType.HANDSHAKE, handshake(HandshakeType.CLIENT_HELLO, body))


def _packed(numbers: Sequence[int]) -> bytes:
    return b"".join(number.to_bytes(2) for number in numbers)
