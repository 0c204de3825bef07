"""A TLS 1.3 client without I/O, which can be driven wrongly.

It is built on the engine's key schedule and records (RFC 8448 and OpenSSL check those from
outside) but decodes what the server sends on its own. Nothing here refuses to send: a test seals
any content under any key and watches what the server makes of it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.tls.key_schedule import HandshakeStage, MasterStage, finished_mac
from proxy.tls.protection import Opener, Sealer
from proxy.tls.suites import PARAMETERS, SuiteParameters
from proxy.wire import (
    HELLO_RETRY_REQUEST_RANDOM,
    AlertDescription,
    CipherSuite,
    ContentType,
    ExtensionType,
    HandshakeType,
    NamedGroup,
    Reader,
    SignatureScheme,
    alert_message,
    finished,
    handshake,
    message_hash,
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


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and fragments of whole records."""
    found = []
    while data:
        size = int.from_bytes(data[3:5])
        found.append((data[:5], data[5 : 5 + size]))
        assert len(found[-1][1]) == size, "a whole record"
        data = data[5 + size :]
    return found


def messages(data: bytes) -> list[bytes]:
    """Handshake messages, each with its header."""
    found = []
    while data:
        size = 4 + int.from_bytes(data[1:4])
        found.append(data[:size])
        data = data[size:]
    return found


@dataclass
class Client:
    """One handshake: ``start``, ``receive`` the flight, then ``finish``, ``send``, ``open``."""

    hello: Hello = field(default_factory=hello)
    parameters: SuiteParameters = PARAMETERS[CipherSuite.TLS_AES_128_GCM_SHA256]
    group: int = 0
    cookie: bytes = b""
    certificate: x509.Certificate | None = None
    scheme: int = 0
    encrypted_extensions: dict[int, bytes] = field(default_factory=dict)
    plaintext_types: list[int] = field(default_factory=list)
    received: bytes = b""
    flight_hash: bytes = b""
    _transcript: bytes = b""

    handshake: Sealer = field(init=False)
    """Our writing direction until Finished."""
    sealer: Sealer = field(init=False)
    """Our writing direction under the application keys."""
    opener: Opener = field(init=False)
    """The server's direction under the application keys."""

    def start(self) -> bytes:
        """The first hello's records."""
        self._transcript = self.hello.encode()
        return self.hello.records()

    def retry(self, data: bytes) -> None:
        """Take a HelloRetryRequest: ``group`` and ``cookie`` say what it asks for."""
        (header, message), *rest = records(data)
        assert header[0] == ContentType.HANDSHAKE
        self.plaintext_types = [one[0] for one, _ in rest]
        self._choose(message)
        digest = hashlib.new(self.parameters.hash_name, self._transcript).digest()
        self._transcript = message_hash(digest) + message

    def again(self, second: Hello) -> bytes:
        """The second hello's records."""
        self.hello = second
        self._transcript += second.encode()
        return second.records()

    def receive(self, data: bytes) -> None:
        """Take the server's whole flight; every MAC and signature is checked."""
        (_, server_hello), *rest = records(data)
        answer = self._choose(server_hello)
        share = next(one for one in self.hello.shares or () if one.group == self.group)
        self._transcript += server_hello
        name = self.parameters.hash_name
        stage = HandshakeStage.from_shared_secret(name, share.agree(answer))
        hello_hash = self._hash()
        client_secret = stage.client_traffic(hello_hash)
        server_secret = stage.server_traffic(hello_hash)
        opener = Opener(self.parameters, server_secret)
        flight = b""
        for header, fragment in rest:
            if header[0] != ContentType.APPLICATION_DATA:
                self.plaintext_types.append(header[0])
                continue
            content_type, plaintext = opener.open(header, fragment)
            assert content_type == ContentType.HANDSHAKE
            flight += plaintext
        self._authenticate(messages(flight), server_secret)
        self.flight_hash = self._hash()
        master = stage.master()
        self.handshake = Sealer(self.parameters, client_secret)
        self._use(master)

    def _use(self, master: MasterStage) -> None:
        self.sealer = Sealer(self.parameters, master.client_traffic(self.flight_hash))
        self.opener = Opener(self.parameters, master.server_traffic(self.flight_hash))

    def _hash(self) -> bytes:
        return hashlib.new(self.parameters.hash_name, self._transcript).digest()

    def _choose(self, message: bytes) -> bytes:
        """Read a ServerHello; the server's key share, or nothing in a HelloRetryRequest."""
        reader = Reader(message[4:])
        assert message[0] == HandshakeType.SERVER_HELLO
        assert reader.u16() == 0x0303
        is_retry = reader.opaque(32) == HELLO_RETRY_REQUEST_RANDOM
        assert reader.vector8() == self.hello.session_id
        self.parameters = PARAMETERS[CipherSuite(reader.u16())]
        assert reader.u8() == 0
        found = dict(_extensions(reader.vector16()))
        reader.finish()
        assert found.pop(ExtensionType.SUPPORTED_VERSIONS) == b"\3\4"
        self.cookie = found.pop(ExtensionType.COOKIE, b"")[2:]
        share = found.pop(ExtensionType.KEY_SHARE, b"")
        assert not found
        self.group = int.from_bytes(share[:2])
        return b"" if is_retry else share[4:]

    def _authenticate(self, flight: list[bytes], server_secret: bytes) -> None:
        extensions, certificate, verify, ending = flight
        block = Reader(extensions[4:])
        self.encrypted_extensions = dict(_extensions(block.vector16()))
        block.finish()
        chain = Reader(certificate[4:])
        assert chain.vector8() == b""
        entries = Reader(chain.vector24())
        chain.finish()
        self._transcript += extensions + certificate
        self._check_certificate(entries.vector24(), verify)
        self._transcript += verify
        expected = finished_mac(self.parameters.hash_name, server_secret, self._hash())
        assert hmac.compare_digest(ending, finished(expected))
        self._transcript += ending

    def _check_certificate(self, der: bytes, verify: bytes) -> None:
        self.certificate = x509.load_der_x509_certificate(der)
        body = Reader(verify[4:])
        self.scheme = body.u16()
        signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + self._hash()
        _verify(self.certificate, SignatureScheme(self.scheme), body.vector16(), signed)
        body.finish()

    # --- the second flight and after -------------------------------------------------------

    def finished(self) -> bytes:
        """The client's Finished message."""
        mac = finished_mac(self.parameters.hash_name, self.handshake.secret, self.flight_hash)
        return finished(mac)

    def finish(self) -> bytes:
        """Finished in a record."""
        return self.handshake.seal(ContentType.HANDSHAKE, self.finished())

    def send(self, plaintext: bytes) -> bytes:
        """Application data."""
        return self.sealer.seal_all(ContentType.APPLICATION_DATA, plaintext)

    def key_update(self, request: int = 0) -> bytes:
        """KeyUpdate, and new keys behind it."""
        data = self.sealer.seal(ContentType.HANDSHAKE, key_update(request))
        self.sealer.update()
        return data

    def close(self) -> bytes:
        """close_notify."""
        return self.alert(AlertDescription.CLOSE_NOTIFY)

    def alert(self, description: AlertDescription) -> bytes:
        """An alert under the application keys."""
        return self.sealer.seal(ContentType.ALERT, alert_message(description))

    def open(self, data: bytes | bytearray) -> list[tuple[int, bytes]]:
        """What the server sent: content types and plaintexts; keys follow its KeyUpdates."""
        found = []
        for header, fragment in records(bytes(data)):
            found.append(self.opener.open(header, fragment))
            if found[-1][0] == ContentType.HANDSHAKE:
                assert found[-1][1] == key_update(0)
                self.opener.update()
        return found

    def text(self, data: bytes | bytearray) -> bytes:
        """The application data in ``data``."""
        kind = ContentType.APPLICATION_DATA
        return b"".join(plaintext for one, plaintext in self.open(data) if one == kind)


class Unverified(Client):
    """A client that takes any certificate: for made-up ones."""

    def _check_certificate(self, der: bytes, verify: bytes) -> None:
        """Nothing to check."""


def key_update(request: int) -> bytes:
    """``KeyUpdate`` with any request value."""
    return handshake(HandshakeType.KEY_UPDATE, bytes((request,)))


def seal_inner(sealer: Sealer, inner: bytes) -> bytes:
    """A record around any ``TLSInnerPlaintext``, with the sealer's next nonce."""
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
    return header + sealer._aead.encrypt(sealer._nonce(), inner, header)


def _extensions(block: bytes) -> Iterator[tuple[int, bytes]]:
    reader = Reader(block)
    while reader.remaining():
        yield reader.u16(), reader.vector16()


def _verify(
    certificate: x509.Certificate, scheme: SignatureScheme, signature: bytes, message: bytes
) -> None:
    """Raises InvalidSignature."""
    key = certificate.public_key()
    algorithm = {"6": hashes.SHA256(), "4": hashes.SHA384(), "2": hashes.SHA512()}.get(
        scheme.name[-1]
    )
    if isinstance(key, ed25519.Ed25519PublicKey):
        assert scheme == SignatureScheme.ED25519
        key.verify(signature, message)
        return
    assert algorithm is not None
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, message, ec.ECDSA(algorithm))
        return
    assert isinstance(key, rsa.RSAPublicKey)
    pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    key.verify(signature, message, pss, algorithm)
