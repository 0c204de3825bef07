"""The engine against the traces of RFC 8448, byte for byte.

The RFC's server differs from ours in what it puts into EncryptedExtensions and in a certificate
too weak for us: the first is put in place of ours, and a `Signer` returns the trace's signature
for exactly the trace's message. Everything else is the engine's own doing: ServerHello, key
schedule, records, Finished, and what is derived from them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.tls import (
    ApplicationData,
    CloseNotify,
    Connection,
    Credential,
    Established,
    Flight,
    KeyAgreement,
    Policy,
    Retried,
    RetryNeeded,
    ServerName,
    answer,
    finish,
    read_hello,
)
from proxy.tls.half_open import HalfOpen
from proxy.tls.hello_reader import WholeHello
from proxy.tls.key_schedule import (
    HandshakeStage,
    MasterStage,
    expand_label,
    finished_mac,
    traffic_keys,
)
from proxy.tls.protection import Opener, Sealer
from proxy.tls.suites import PARAMETERS
from proxy.wire import (
    CipherSuite,
    ClientHello,
    ContentType,
    ExtensionType,
    KeyShareEntry,
    NamedGroup,
    SignatureScheme,
    certificate,
    certificate_verify,
    change_cipher_spec_record,
    finished,
    hello_retry_request,
    message_hash,
    plaintext_records,
    server_hello,
)
from tests.tls.rfc8448 import (
    COMPATIBILITY,
    HELLO_RETRY,
    RETRY,
    RETRY_SECRETS,
    SIMPLE,
    SIMPLE_SECRETS,
    Secrets,
    Trace,
)

pytestmark = pytest.mark.requirement("A21", "A30", "A41")

SUITE = PARAMETERS[CipherSuite.TLS_AES_128_GCM_SHA256]
PSS = SignatureScheme.RSA_PSS_RSAE_SHA256
TRACES = pytest.mark.parametrize(
    "trace", [SIMPLE, HELLO_RETRY, COMPATIBILITY], ids=["section3", "section5", "section7"]
)
DATA = bytes(range(50))


class TraceEntropy:
    """The trace's server random and ephemeral key."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def random(self, size: int) -> bytes:
        assert size == 32
        return self.trace.server_random

    def agree(self, group: NamedGroup, client_share: bytes) -> KeyAgreement:
        private = self.trace.server_private_key
        if group == NamedGroup.X25519:
            ours = X25519PrivateKey.from_private_bytes(private)
            secret = ours.exchange(X25519PublicKey.from_public_bytes(client_share))
            return KeyAgreement(ours.public_key().public_bytes_raw(), secret)
        assert group == NamedGroup.SECP256R1
        curve = ec.SECP256R1()
        key = ec.derive_private_key(int.from_bytes(private), curve)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(curve, client_share)
        share = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return KeyAgreement(share, key.exchange(ec.ECDH(), peer))


class TraceSigner:
    """The trace's signature, for the message that the trace signs."""

    schemes: Sequence[SignatureScheme] = (PSS,)

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def sign(self, scheme: SignatureScheme, message: bytes) -> bytes:
        assert (scheme, message) == (PSS, self.trace.signed)
        return self.trace.signature


def policy_of(trace: Trace) -> Policy:
    credential = Credential(trace.certificate, TraceSigner(trace), frozenset())
    return Policy(names={"server": ServerName(0, (credential,))}, groups=(NamedGroup.SECP256R1,))


def retried() -> Retried:
    return Retried(
        suite=SUITE.suite,
        group=NamedGroup.SECP256R1,
        first_hash=hashlib.sha256(RETRY.first_hello).digest(),
        retry_request=RETRY.message,
        hello=HELLO_RETRY.client_hello,
    )


def transcript(trace: Trace) -> bytes:
    """What the RFC's server had hashed before its ServerHello."""
    if trace is not HELLO_RETRY:
        return trace.client_hello
    first = message_hash(hashlib.sha256(RETRY.first_hello).digest())
    return first + RETRY.message + trace.client_hello


def rfc_flight(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> Flight:
    # The package's name for it is the function of that name.
    module = import_module("proxy.tls.answer")
    monkeypatch.setattr(module, "_encrypted_extensions", lambda *_: trace.encrypted_extensions)
    policy, entropy = policy_of(trace), TraceEntropy(trace)
    if trace is HELLO_RETRY:
        answered = answer(retried(), policy, entropy)
    else:
        hello = ClientHello.decode(trace.client_hello)
        answered = answer(hello, replace(policy, groups=(NamedGroup.X25519,)), entropy)
    assert isinstance(answered, Flight)
    return answered


def established(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> Established:
    flight = rfc_flight(trace, monkeypatch)
    ccs = change_cipher_spec_record() if trace is COMPATIBILITY else b""
    context = finish(flight.half_open, ccs + trace.client_finished_record)
    assert isinstance(context, Established)
    return context


# --- decoding ---------------------------------------------------------------------------------


def test_first_hello_of_section_3() -> None:
    hello = ClientHello.decode(SIMPLE.client_hello)
    assert hello.legacy_version == 0x0303
    assert hello.random.hex().startswith("cb34ecb1e78163ba")
    assert hello.session_id == b""
    assert hello.cipher_suites == (0x1301, 0x1303, 0x1302)
    assert hello.compression_methods == b"\0"
    assert list(hello.extensions) == [0, 0xFF01, 10, 35, 51, 43, 13, 45, 28]
    assert hello.server_name == b"server"
    assert hello.supported_versions == (0x0304,)
    groups = (0x1D, 0x17, 0x18, 0x19, 0x100, 0x101, 0x102, 0x103, 0x104)
    assert hello.supported_groups == groups
    share = X25519PrivateKey.from_private_bytes(
        bytes.fromhex("49af42ba7f7994852d713ef2784bcbcaa7911de26adc5642cb634540e7ea5005")
    ).public_key()
    assert hello.key_shares == (KeyShareEntry(0x1D, share.public_bytes_raw()),)
    assert hello.signature_algorithms is not None
    assert len(hello.signature_algorithms) == 15
    assert hello.extensions[ExtensionType.PSK_KEY_EXCHANGE_MODES] == b"\1"
    assert hello.extensions[28] == b"\x40\1", "record_size_limit is kept as it is"


def test_second_hello_of_section_5_echoes_the_cookie() -> None:
    hello = ClientHello.decode(HELLO_RETRY.client_hello)
    assert hello.cookie == RETRY.cookie
    assert [share.group for share in hello.key_shares or ()] == [NamedGroup.SECP256R1]
    assert hello.extensions[ExtensionType.PADDING] == bytes(0xAF)


def test_hello_of_section_7_asks_for_compatibility() -> None:
    hello = ClientHello.decode(COMPATIBILITY.client_hello)
    assert len(hello.session_id) == 32


@TRACES
def test_hello_records_are_read_whole(trace: Trace) -> None:
    record = plaintext_records(ContentType.HANDSHAKE, trace.client_hello)
    assert read_hello(record) == WholeHello(trace.client_hello, b"")


# --- messages that we build ---------------------------------------------------------------------


@TRACES
def test_messages(trace: Trace) -> None:
    hello = ClientHello.decode(trace.client_hello)
    assert hello.key_shares is not None
    share = hello.key_shares[0]
    ours = TraceEntropy(trace).agree(NamedGroup(share.group), share.key_exchange)
    built = server_hello(
        trace.server_random, hello.session_id, SUITE.suite, NamedGroup(share.group), ours.share
    )
    assert built == trace.server_hello
    der = trace.certificate[11:-2]
    assert certificate([der]) == trace.certificate
    assert finished(trace.server_finished[4:]) == trace.server_finished
    assert certificate_verify(PSS, trace.signature)[8:] == trace.signature


def test_hello_retry_request() -> None:
    assert hello_retry_request(b"", SUITE.suite, NamedGroup.SECP256R1, RETRY.cookie) == (
        RETRY.message
    )


def test_first_hello_of_section_5_needs_a_retry() -> None:
    hello = ClientHello.decode(RETRY.first_hello)
    answered = answer(hello, policy_of(HELLO_RETRY), TraceEntropy(HELLO_RETRY))
    assert answered == RetryNeeded(SUITE, NamedGroup.SECP256R1)


# --- key schedule ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "secrets"),
    [(SIMPLE, SIMPLE_SECRETS), (HELLO_RETRY, RETRY_SECRETS)],
    ids=["section3", "section5"],
)
def test_every_secret(trace: Trace, secrets: Secrets) -> None:
    name = SUITE.hash_name
    stage = HandshakeStage.from_shared_secret(name, secrets.shared)
    assert stage.secret == secrets.handshake
    hello_hash = hashlib.sha256(transcript(trace) + trace.server_hello).digest()
    assert hello_hash == secrets.hello_hash
    client, server = stage.client_traffic(hello_hash), stage.server_traffic(hello_hash)
    assert client == secrets.client_handshake
    assert server == secrets.server_handshake
    assert traffic_keys(name, server, 16) == (
        secrets.server_handshake_key,
        secrets.server_handshake_iv,
    )
    assert traffic_keys(name, client, 16) == (
        secrets.client_handshake_key,
        secrets.client_handshake_iv,
    )
    assert expand_label(name, server, b"finished", b"", 32) == secrets.server_finished_key
    assert expand_label(name, client, b"finished", b"", 32) == secrets.client_finished_key
    master = stage.master()
    assert master.secret == secrets.master
    assert_application_secrets(master, secrets)


def assert_application_secrets(master: MasterStage, secrets: Secrets) -> None:
    client = master.client_traffic(secrets.flight_hash)
    server = master.server_traffic(secrets.flight_hash)
    assert client == secrets.client_application
    assert server == secrets.server_application
    assert traffic_keys(SUITE.hash_name, server, 16) == (
        secrets.server_application_key,
        secrets.server_application_iv,
    )
    assert traffic_keys(SUITE.hash_name, client, 16) == (
        secrets.client_application_key,
        secrets.client_application_iv,
    )


@pytest.mark.parametrize(
    ("trace", "secrets"),
    [(SIMPLE, SIMPLE_SECRETS), (HELLO_RETRY, RETRY_SECRETS)],
    ids=["section3", "section5"],
)
def test_server_finished_and_flight_hash(trace: Trace, secrets: Secrets) -> None:
    before = transcript(trace) + trace.server_hello + trace.encrypted_extensions
    before += trace.certificate
    context = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
    assert context + hashlib.sha256(before).digest() == trace.signed
    before += certificate_verify(PSS, trace.signature)
    mac = finished_mac(SUITE.hash_name, secrets.server_handshake, hashlib.sha256(before).digest())
    assert finished(mac) == trace.server_finished
    assert hashlib.sha256(before + trace.server_finished).digest() == secrets.flight_hash


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trace", "secrets"),
    [(SIMPLE, SIMPLE_SECRETS), (HELLO_RETRY, RETRY_SECRETS)],
    ids=["section3", "section5"],
)
def test_flight_record_seals_and_opens(trace: Trace, secrets: Secrets) -> None:
    plaintext = (
        trace.encrypted_extensions
        + trace.certificate
        + certificate_verify(PSS, trace.signature)
        + trace.server_finished
    )
    sealer = Sealer(SUITE, secrets.server_handshake)
    assert sealer.seal_all(ContentType.HANDSHAKE, plaintext) == trace.flight_record
    opener = Opener(SUITE, secrets.server_handshake)
    opened = opener.open(trace.flight_record[:5], trace.flight_record[5:])
    assert opened == (ContentType.HANDSHAKE, plaintext)


@TRACES
def test_whole_flight(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    flight = rfc_flight(trace, monkeypatch)
    ccs = change_cipher_spec_record() if trace is COMPATIBILITY else b""
    expected = plaintext_records(ContentType.HANDSHAKE, trace.server_hello)
    assert flight.data == expected + ccs + trace.flight_record


@pytest.mark.parametrize(
    ("trace", "secrets"),
    [(SIMPLE, SIMPLE_SECRETS), (HELLO_RETRY, RETRY_SECRETS)],
    ids=["section3", "section5"],
)
def test_what_is_kept_and_established(
    trace: Trace, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = HalfOpen.unpack(rfc_flight(trace, monkeypatch).half_open)
    assert kept.client_secret() == secrets.client_handshake
    assert kept.master().secret == secrets.master
    assert kept.flight_hash == secrets.flight_hash
    context = established(trace, monkeypatch)
    assert context.read_secret.reveal() == secrets.client_application
    assert context.write_secret.reveal() == secrets.server_application


def test_application_data_of_section_3(monkeypatch: pytest.MonkeyPatch) -> None:
    # The RFC's server has sent a ticket, under sequence number 0, which ours does not.
    context = replace(established(SIMPLE, monkeypatch), write_sequence=1)
    connection = Connection(context)
    assert connection.receive(SIMPLE.client_data_record) == [ApplicationData(DATA)]
    assert connection.send(DATA) == SIMPLE.server_data_record
    assert connection.receive(SIMPLE.client_close_record) == [CloseNotify()]
    assert connection.close() == SIMPLE.server_close_record


def test_ticket_record_of_section_3_opens() -> None:
    opener = Opener(SUITE, SIMPLE_SECRETS.server_application)
    record = SIMPLE.server_ticket_record
    content_type, plaintext = opener.open(record[:5], record[5:])
    assert content_type == ContentType.HANDSHAKE
    assert plaintext.startswith(bytes.fromhex("040000c90000001e"))


@pytest.mark.parametrize("trace", [HELLO_RETRY, COMPATIBILITY], ids=["section5", "section7"])
def test_close_notify(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(established(trace, monkeypatch))
    assert connection.receive(trace.client_close_record) == [CloseNotify()]
    assert connection.close() == trace.server_close_record
