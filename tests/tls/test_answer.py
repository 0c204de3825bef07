"""The server's flight: its records, its order, its compatibility CCS, and what is kept of it."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.tls import (
    Credential,
    Flight,
    Policy,
    Retried,
    ServerName,
    TlsError,
    WholeHello,
    answer,
    plan_retry,
    read_hello,
)
from proxy.tls.defaults import GROUPS
from proxy.tls.half_open import HalfOpen
from proxy.wire import (
    MAX_PLAINTEXT,
    CipherSuite,
    ClientHello,
    ExtensionType,
    NamedGroup,
    SignatureScheme,
    certificate,
    u16_vector,
)
from tests.tls.client import Client, records
from tests.tls.hello import Hello, Share, hello
from tests.tls.material import (
    CERTIFICATE_KINDS,
    ENTROPY,
    NAME,
    FixedSigner,
    credential,
    policy,
    pseudo_random,
)

HELLOS = Path(__file__).parents[1] / "fuzz" / "corpus" / "hello"
SESSION_ID = pseudo_random("session id", 32)


def flight_for(made: Hello, kind: str = "ecdsa-p256") -> Flight:
    flight = answer(ClientHello.decode(made.encode()), policy(kind), ENTROPY)
    assert isinstance(flight, Flight)
    return flight


@pytest.mark.requirement("A30", "A31", "A41")
@pytest.mark.parametrize("kind", CERTIFICATE_KINDS)
@pytest.mark.parametrize("suite", CipherSuite)
def test_each_certificate_with_each_suite(kind: str, suite: CipherSuite) -> None:
    client = Client(hello(suites=[suite]))
    client.start()
    client.receive(flight_for(client.hello, kind).data)
    assert client.certificate is not None
    der = client.certificate.public_bytes(Encoding.DER)
    assert der in credential(kind).message


@pytest.mark.requirement("A3", "A9", "A30")
@pytest.mark.parametrize(
    ("name", "suite", "group"),
    [
        ("chromium-156.0.8078.79", 0x1301, NamedGroup.X25519MLKEM768),
        ("curl-7.88.1", 0x1302, NamedGroup.X25519),
        ("gnutls-3.7.9", 0x1302, NamedGroup.X25519),
        ("java-17.0.15", 0x1302, NamedGroup.X25519),
        ("node-20.20.2", 0x1302, NamedGroup.X25519),
        ("openssl-3.0.22", 0x1302, NamedGroup.X25519),
        ("python-3.11.7", 0x1302, NamedGroup.X25519),
    ],
)
def test_hellos_of_public_clients(name: str, suite: int, group: NamedGroup) -> None:
    whole = read_hello((HELLOS / f"{name}.bin").read_bytes())
    assert isinstance(whole, WholeHello)
    flight = answer(ClientHello.decode(whole.message), policy(alpn=(b"http/1.1",)), ENTROPY)
    assert isinstance(flight, Flight)
    kept = HalfOpen.unpack(flight.half_open)
    assert (kept.parameters.suite, kept.group) == (suite, group)
    assert kept.server_name == (b"" if name == "java-17" else b"localhost")


@pytest.mark.parametrize(
    ("session_id", "types"), [(b"", [22, 23]), (SESSION_ID, [22, 20, 23]), (b"\1", [22, 20, 23])]
)
def test_records_of_the_flight(session_id: bytes, types: list[int]) -> None:
    data = flight_for(hello(session_id=session_id)).data
    assert [header[0] for header, _ in records(data)] == types


@pytest.mark.requirement("A21", "A22")
def test_fresh_random_and_share_every_time() -> None:
    made = hello()
    randoms = {flight_for(made).data[11:43] for _ in range(20)}
    shares = {flight_for(made).data[-400:] for _ in range(20)}
    assert len(randoms) == len(shares) == 20


def test_what_is_kept() -> None:
    kept = HalfOpen.unpack(flight_for(hello()).half_open)
    assert kept.parameters.suite == CipherSuite.TLS_AES_128_GCM_SHA256
    assert kept.group == NamedGroup.X25519
    assert (kept.name_index, kept.records, kept.ccs, kept.skip) == (0, 0, 0, 0)
    assert (kept.server_name, kept.alpn, kept.partial) == (NAME.encode(), b"", b"")


@pytest.mark.requirement("A1")
def test_size_of_what_is_kept() -> None:
    assert len(flight_for(hello(NamedGroup.X25519MLKEM768)).half_open) < 200


def test_long_certificate_chain_spans_records() -> None:
    chain = certificate([pseudo_random("certificate", 20_000)])
    long = Credential(chain, FixedSigner(SignatureScheme.ED25519), frozenset())
    ours = Policy(names={NAME: ServerName(0, (long,))})
    flight = answer(ClientHello.decode(hello().encode()), ours, ENTROPY)
    assert isinstance(flight, Flight)
    sizes = [len(fragment) for header, fragment in records(flight.data) if header[0] == 23]
    assert sizes[0] == MAX_PLAINTEXT + 17
    assert len(sizes) == 2


def test_bad_share_is_refused_before_anything_is_signed() -> None:
    made = hello(shares=[Share(NamedGroup.X25519, bytes(32), lambda _: b"")])
    with pytest.raises(TlsError, match="bad_key_share"):
        flight_for(made)


def test_plan_of_a_retry_is_what_a_direct_answer_would_choose() -> None:
    made = hello(NamedGroup.SECP256R1, suites=[CipherSuite.TLS_AES_256_GCM_SHA384])
    needed = plan_retry(ClientHello.decode(made.encode()), policy())
    assert needed.group == NamedGroup.SECP256R1
    assert needed.suite.suite == CipherSuite.TLS_AES_256_GCM_SHA384


@pytest.mark.parametrize(
    "second", [hello(shares=[]), hello(NamedGroup.SECP256R1), hello(versions=[0x0303])]
)
def test_second_hello_in_a_context_is_checked_again(second: Hello) -> None:
    context = Retried(
        suite=CipherSuite.TLS_AES_128_GCM_SHA256,
        group=NamedGroup.X25519,
        first_hash=bytes(32),
        retry_request=b"",
        hello=second.encode(),
    )
    with pytest.raises(TlsError):
        answer(context, policy(), ENTROPY)


@pytest.mark.requirement("A26")
@pytest.mark.parametrize("group", NamedGroup)
def test_a_client_learns_of_a_group_that_we_prefer(group: NamedGroup) -> None:
    """RFC 8446, Section 4.2.7: supported_groups SHOULD then be in EncryptedExtensions."""
    client = Client(hello(group))
    client.start()
    client.receive(flight_for(client.hello).data)
    told = client.encrypted_extensions.get(ExtensionType.SUPPORTED_GROUPS)
    if group is NamedGroup.X25519MLKEM768:
        assert told is None
    else:
        assert told == u16_vector(b"".join(one.to_bytes(2) for one in GROUPS))
