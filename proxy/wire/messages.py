"""The handshake messages that we send (RFC 8446, Section 4), as bytes.

Each function returns the whole message with its four-byte header, as it enters the transcript.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from proxy.wire.codec import u8_vector, u16_vector, u24_vector
from proxy.wire.registry import (
    CipherSuite,
    ExtensionType,
    HandshakeType,
    KeyUpdateRequest,
    NamedGroup,
    ProtocolVersion,
    SignatureScheme,
)

__all__ = [
    "HELLO_RETRY_REQUEST_RANDOM",
    "certificate",
    "certificate_verify",
    "encrypted_extensions",
    "extension",
    "finished",
    "handshake",
    "hello_retry_request",
    "key_update",
    "message_hash",
    "server_hello",
]

# RFC 8446, Section 4.1.3: SHA-256 of "HelloRetryRequest".
HELLO_RETRY_REQUEST_RANDOM: Final = bytes.fromhex(
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)
_SERVER_HELLO: Final = HandshakeType.SERVER_HELLO.to_bytes(1)
_CERTIFICATE_VERIFY: Final = HandshakeType.CERTIFICATE_VERIFY.to_bytes(1)
_FINISHED: Final = HandshakeType.FINISHED.to_bytes(1)
# A ServerHello without its session ID and extensions: version, random, three sizes, suite and
# compression method.
_FIXED_SIZE: Final = 2 + 32 + 1 + 2 + 1 + 2
_LEGACY_VERSION: Final = ProtocolVersion.TLS_1_2.to_bytes(2)
_SUPPORTED_VERSIONS: Final = (
    ExtensionType.SUPPORTED_VERSIONS.to_bytes(2) + b"\0\2" + ProtocolVersion.TLS_1_3.to_bytes(2)
)
_KEY_SHARE: Final = ExtensionType.KEY_SHARE.to_bytes(2)
_COOKIE: Final = ExtensionType.COOKIE.to_bytes(2)


def handshake(message_type: HandshakeType, body: bytes) -> bytes:
    """``struct Handshake`` (RFC 8446, Section 4)."""
    return message_type.to_bytes(1) + len(body).to_bytes(3) + body


def extension(number: ExtensionType, data: bytes) -> bytes:
    """``struct Extension`` (RFC 8446, Section 4.2)."""
    return number.to_bytes(2) + u16_vector(data)


def server_hello(
    random: bytes, session_id: bytes, suite: CipherSuite, group: NamedGroup, share: bytes
) -> bytes:
    """``struct ServerHello`` (RFC 8446, Section 4.1.3) choosing TLS 1.3."""
    size = len(share)
    # Spelled out rather than nested: one is written for every hello.
    extensions = b"".join(
        (
            _KEY_SHARE,
            (size + 4).to_bytes(2),
            group.to_bytes(2),
            size.to_bytes(2),
            share,
            _SUPPORTED_VERSIONS,
        )
    )
    return _hello(random, session_id, suite, extensions)


def hello_retry_request(
    session_id: bytes, suite: CipherSuite, group: NamedGroup | None, cookie: bytes
) -> bytes:
    """A ServerHello that asks for a second hello (RFC 8446, Section 4.1.4).

    ``group`` is named only where the first hello had no share for it.
    """
    extensions = _SUPPORTED_VERSIONS
    if cookie:
        size = len(cookie)
        extensions = b"".join(
            (_COOKIE, (size + 2).to_bytes(2), size.to_bytes(2), cookie, extensions)
        )
    if group is not None:
        extensions = _KEY_SHARE + b"\0\2" + group.to_bytes(2) + extensions
    return _hello(HELLO_RETRY_REQUEST_RANDOM, session_id, suite, extensions)


def _hello(random: bytes, session_id: bytes, suite: CipherSuite, extensions: bytes) -> bytes:
    id_size, size = len(session_id), len(extensions)
    return b"".join(
        (
            _SERVER_HELLO,
            (_FIXED_SIZE + id_size + size).to_bytes(3),
            _LEGACY_VERSION,
            random,
            id_size.to_bytes(1),
            session_id,
            suite.to_bytes(2),
            b"\0",  # RFC 8446, Section 4.1.3: legacy_compression_method MUST be 0
            size.to_bytes(2),
            extensions,
        )
    )


def message_hash(digest: bytes) -> bytes:
    """What stands for the first hello in the transcript after a retry (RFC 8446, 4.4.1)."""
    return handshake(HandshakeType.MESSAGE_HASH, digest)


def encrypted_extensions(extensions: Iterable[bytes] = ()) -> bytes:
    """``struct EncryptedExtensions`` (RFC 8446, Section 4.3.1)."""
    return handshake(HandshakeType.ENCRYPTED_EXTENSIONS, u16_vector(b"".join(extensions)))


def certificate(chain: Sequence[bytes]) -> bytes:
    """``struct Certificate`` (RFC 8446, Section 4.4.2) of DER certificates, leaf first."""
    entries = b"".join(u24_vector(der) + b"\0\0" for der in chain)
    return handshake(HandshakeType.CERTIFICATE, u8_vector(b"") + u24_vector(entries))


def certificate_verify(scheme: SignatureScheme, signature: bytes) -> bytes:
    """``struct CertificateVerify`` (RFC 8446, Section 4.4.3)."""
    size = len(signature)
    header = _CERTIFICATE_VERIFY + (size + 4).to_bytes(3)
    return header + scheme.to_bytes(2) + size.to_bytes(2) + signature


def finished(verify_data: bytes) -> bytes:
    """``struct Finished`` (RFC 8446, Section 4.4.4)."""
    return _FINISHED + len(verify_data).to_bytes(3) + verify_data


def key_update(request: KeyUpdateRequest) -> bytes:
    """``struct KeyUpdate`` (RFC 8446, Section 4.6.3)."""
    return handshake(HandshakeType.KEY_UPDATE, request.to_bytes(1))
