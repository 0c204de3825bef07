"""A TLS 1.3 client without I/O, which can be driven wrongly.

It is built on the engine's key schedule and records (RFC 8448 and OpenSSL check those from
outside) but decodes what the server sends on its own. Nothing here refuses to send: a test seals
any content under any key and watches what the server makes of it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

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
    Reader,
    SignatureScheme,
    alert_message,
    finished,
    handshake,
    message_hash,
)
from tests.tls.hello import Hello, hello


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
