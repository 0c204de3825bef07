"""A ClientHello in parts, each of which a test may leave out, bend or repeat.

Key shares are real: a fresh key for each, X25519MLKEM768 against the library's ML-KEM.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.wire import (
    CipherSuite,
    ContentType,
    ExtensionType,
    HandshakeType,
    NamedGroup,
    SignatureScheme,
    handshake,
    plaintext_records,
    u8_vector,
    u16_vector,
)
from tests.tls.material import NAME, pseudo_random

ALL_SUITES = tuple(CipherSuite)
ALL_GROUPS = tuple(NamedGroup)
ALL_SCHEMES = tuple(SignatureScheme)

_CURVES = {NamedGroup.SECP256R1: ec.SECP256R1(), NamedGroup.SECP384R1: ec.SECP384R1()}


@dataclass(frozen=True, slots=True)
class Share:
    """The client's half of a key exchange: what it sends, and how it takes the answer."""

    group: int
    key_exchange: bytes
    agree: Callable[[bytes], bytes]

    @classmethod
    def new(cls, group: NamedGroup) -> Share:
        """A fresh key."""
        if group in _CURVES:
            return _nist_share(group)
        if group == NamedGroup.X25519MLKEM768:
            return _hybrid_share()
        private = X25519PrivateKey.generate()
        return cls(
            group,
            private.public_key().public_bytes_raw(),
            lambda peer: private.exchange(X25519PublicKey.from_public_bytes(peer)),
        )


def _nist_share(group: NamedGroup) -> Share:
    curve = _CURVES[group]
    private = ec.generate_private_key(curve)

    def agree(peer: bytes) -> bytes:
        point = ec.EllipticCurvePublicKey.from_encoded_point(curve, peer)
        return private.exchange(ec.ECDH(), point)

    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return Share(group, public, agree)


def _hybrid_share() -> Share:
    mlkem, ecdh = MLKEM768PrivateKey.generate(), Share.new(NamedGroup.X25519)

    def agree(peer: bytes) -> bytes:
        return mlkem.decapsulate(peer[:1088]) + ecdh.agree(peer[1088:])

    public = mlkem.public_key().public_bytes_raw() + ecdh.key_exchange
    return Share(NamedGroup.X25519MLKEM768, public, agree)


def extension(number: int, data: bytes) -> bytes:
    """Any number with any data."""
    return number.to_bytes(2) + u16_vector(data)


def u16_list(values: Sequence[int]) -> bytes:
    """16-bit numbers behind their 16-bit length."""
    return u16_vector(b"".join(value.to_bytes(2) for value in values))


def server_name(name: bytes) -> bytes:
    """``ServerNameList`` with one host_name (RFC 6066, Section 3)."""
    return u16_vector(b"\0" + u16_vector(name))


@dataclass
class Hello:
    """A ClientHello in parts. ``None`` leaves the extension out; ``extra`` comes last."""

    random: bytes = pseudo_random("client random", 32)
    session_id: bytes = b""
    suites: Sequence[int] = ALL_SUITES
    compression: bytes = b"\0"
    legacy_version: int = 0x0303
    versions: Sequence[int] | None = (0x0304,)
    groups: Sequence[int] | None = ALL_GROUPS
    shares: Sequence[Share] | None = ()
    schemes: Sequence[int] | None = ALL_SCHEMES
    certificate_schemes: Sequence[int] | None = None
    server_name: bytes | None = NAME.encode()
    alpn: Sequence[bytes] | None = None
    cookie: bytes | None = None
    early_data: bool = False
    extra: Sequence[tuple[int, bytes]] = ()

    def extensions(self) -> Iterator[tuple[ExtensionType | int, bytes]]:
        """Number and data of each, in the order sent."""
        kinds = ExtensionType
        if self.server_name is not None:
            yield kinds.SERVER_NAME, server_name(self.server_name)
        if self.versions is not None:
            packed = b"".join(version.to_bytes(2) for version in self.versions)
            yield kinds.SUPPORTED_VERSIONS, u8_vector(packed)
        if self.groups is not None:
            yield kinds.SUPPORTED_GROUPS, u16_list(self.groups)
        if self.schemes is not None:
            yield kinds.SIGNATURE_ALGORITHMS, u16_list(self.schemes)
        if self.certificate_schemes is not None:
            yield kinds.SIGNATURE_ALGORITHMS_CERT, u16_list(self.certificate_schemes)
        if self.shares is not None:
            entries = (s.group.to_bytes(2) + u16_vector(s.key_exchange) for s in self.shares)
            yield kinds.KEY_SHARE, u16_vector(b"".join(entries))
        if self.alpn is not None:
            names = u16_vector(b"".join(u8_vector(name) for name in self.alpn))
            yield kinds.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, names
        if self.cookie is not None:
            yield kinds.COOKIE, u16_vector(self.cookie)
        if self.early_data:
            yield kinds.EARLY_DATA, b""
        yield from self.extra

    def encode(self) -> bytes:
        """The handshake message."""
        block = b"".join(extension(number, data) for number, data in self.extensions())
        body = (
            self.legacy_version.to_bytes(2)
            + self.random
            + u8_vector(self.session_id)
            + u16_list(self.suites)
            + u8_vector(self.compression)
            + u16_vector(block)
        )
        return handshake(HandshakeType.CLIENT_HELLO, body)

    def records(self) -> bytes:
        """The message in plaintext records."""
        return plaintext_records(ContentType.HANDSHAKE, self.encode())


def hello(*groups: NamedGroup, **changes: object) -> Hello:
    """A hello with a fresh share for each group; X25519 where none is named."""
    shares = [Share.new(group) for group in groups or (NamedGroup.X25519,)]
    return Hello(**{"shares": shares, **changes})  # type: ignore[arg-type]  # fields by name
