"""What both sides can: tables of hellos, policies and what is chosen or refused."""

import itertools

import pytest

from proxy.tls import Credential, Flight, Policy, Reason, RetryNeeded, ServerName, TlsError, answer
from proxy.tls.negotiate import choose_credential, choose_group, choose_name
from proxy.wire import (
    AlertDescription,
    CipherSuite,
    ClientHello,
    ExtensionType,
    NamedGroup,
    SignatureScheme,
)
from tests.tls.client import Client
from tests.tls.hello import ALL_GROUPS, Hello, Share, hello
from tests.tls.material import ENTROPY, NAME, FixedSigner, credential, policy

AES128, AES256, CHACHA = CipherSuite
ALERT = AlertDescription
SCHEME = SignatureScheme


def decoded(made: Hello) -> ClientHello:
    return ClientHello.decode(made.encode())


def answered(made: Hello, by: Policy | None = None) -> Client:
    """The client after it has taken the flight, every MAC and signature checked."""
    client = Client(made)
    client.start()
    flight = answer(decoded(made), by or policy(), ENTROPY)
    assert isinstance(flight, Flight)
    client.receive(flight.data)
    assert client.scheme == flight.scheme
    return client


def refusal(made: Hello, by: Policy | None = None) -> tuple[str, AlertDescription | None]:
    with pytest.raises(TlsError) as caught:
        answer(decoded(made), by or policy(), ENTROPY)
    return caught.value.reason, caught.value.alert


# --- version and the rules of every hello -----------------------------------------------------


@pytest.mark.requirement("A25", "A60")
@pytest.mark.parametrize("versions", [(0x0304,), (0x0304, 0x0303), (0x0A0A, 0x0303, 0x0304)])
def test_version(versions: tuple[int, ...]) -> None:
    assert answered(hello(versions=versions)).group == NamedGroup.X25519


@pytest.mark.requirement("A25", "A60")
@pytest.mark.parametrize("versions", [None, (0x0303,), (0x7F1C,), (0x0301, 0x0302, 0x0303)])
def test_no_shared_version(versions: tuple[int, ...] | None) -> None:
    expected = ("no_shared_version", ALERT.PROTOCOL_VERSION)
    assert refusal(hello(versions=versions)) == expected


@pytest.mark.parametrize("version", [0x0301, 0x0302, 0x0303, 0x0304, 0x0399])
def test_legacy_version_is_ignored(version: int) -> None:
    answered(hello(legacy_version=version))


@pytest.mark.parametrize("version", [0x0000, 0x0002, 0x0300])
def test_ssl_is_refused(version: int) -> None:
    expected = ("no_shared_version", ALERT.PROTOCOL_VERSION)
    assert refusal(hello(legacy_version=version)) == expected


@pytest.mark.requirement("A26")
@pytest.mark.parametrize("compression", [b"\1", b"\0\1", b"\1\0", b"\0\0"])
def test_compression(compression: bytes) -> None:
    expected = ("bad_compression", ALERT.ILLEGAL_PARAMETER)
    assert refusal(hello(compression=compression)) == expected


@pytest.mark.parametrize(
    "without", [{"groups": None}, {"shares": None}, {"schemes": None}], ids=str
)
def test_missing_extension(without: dict[str, None]) -> None:
    expected = ("missing_extension", ALERT.MISSING_EXTENSION)
    assert refusal(hello(**without)) == expected


def test_pre_shared_key_needs_its_modes() -> None:
    psk = (41, bytes.fromhex("000700016100000000" + "0021" + "20" + 32 * "00"))
    expected = ("missing_extension", ALERT.MISSING_EXTENSION)
    assert refusal(hello(extra=[psk])) == expected
    answered(hello(extra=[(45, b"\1\1"), psk]))


def test_cookie_in_a_first_hello() -> None:
    assert refusal(hello(cookie=b"x")) == ("bad_cookie", ALERT.ILLEGAL_PARAMETER)


# --- suite ------------------------------------------------------------------------------------


@pytest.mark.requirement("A26")
@pytest.mark.parametrize("order", list(itertools.permutations(CipherSuite)))
def test_suite_in_the_clients_order(order: tuple[CipherSuite, ...]) -> None:
    client = answered(hello(suites=[0x0A0A, 0xC02F, *order, 0x00FF]))
    assert client.parameters.suite == order[0]


@pytest.mark.requirement("A24", "A26")
@pytest.mark.parametrize("order", list(itertools.permutations(CipherSuite)))
def test_suite_in_our_order(order: tuple[CipherSuite, ...]) -> None:
    entry = ServerName(0, (credential(),))
    ours = Policy(names={NAME: entry}, suites=order, server_order=True)
    assert answered(hello(), ours).parameters.suite == order[0]


@pytest.mark.requirement("A27")
@pytest.mark.parametrize("server_order", [False, True])
def test_only_what_is_configured(server_order: bool) -> None:
    entry = ServerName(0, (credential(),))
    ours = Policy(names={NAME: entry}, suites=(CHACHA,), server_order=server_order)
    assert answered(hello(suites=[AES128, CHACHA]), ours).parameters.suite == CHACHA
    expected = ("no_shared_suite", ALERT.HANDSHAKE_FAILURE)
    assert refusal(hello(suites=[AES128, AES256]), ours) == expected
    assert refusal(hello(suites=[0xC02F, 0x1304])) == expected


# --- group ------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ALL_GROUPS)
@pytest.mark.parametrize("suite", CipherSuite)
def test_each_group_with_each_suite(group: NamedGroup, suite: CipherSuite) -> None:
    client = answered(hello(group, suites=[suite]))
    assert (client.group, client.parameters.suite) == (group, suite)


@pytest.mark.parametrize(
    ("shares", "chosen"),
    [
        ((NamedGroup.X25519, NamedGroup.X25519MLKEM768), NamedGroup.X25519MLKEM768),
        ((NamedGroup.SECP256R1, NamedGroup.X25519), NamedGroup.X25519),
        ((NamedGroup.SECP384R1, NamedGroup.SECP256R1), NamedGroup.SECP256R1),
    ],
)
def test_our_order_among_shares(shares: tuple[NamedGroup, ...], chosen: NamedGroup) -> None:
    assert answered(hello(*shares)).group == chosen


def test_a_share_wins_over_a_round_trip() -> None:
    assert answered(hello(NamedGroup.SECP384R1)).group == NamedGroup.SECP384R1


@pytest.mark.parametrize(
    ("groups", "ours", "asked"),
    [
        ((0x0A0A, 0x0019, NamedGroup.SECP384R1), ALL_GROUPS, NamedGroup.SECP384R1),
        ((NamedGroup.SECP384R1, NamedGroup.X25519), (NamedGroup.X25519,), NamedGroup.X25519),
    ],
)
def test_missing_share_needs_a_retry(
    groups: tuple[int, ...], ours: tuple[NamedGroup, ...], asked: NamedGroup
) -> None:
    made = hello(groups=groups, shares=[Share(groups[0], b"\0", lambda _: b"")])
    result = answer(decoded(made), policy(groups=ours), ENTROPY)
    assert isinstance(result, RetryNeeded)
    assert result.group == asked
    assert choose_group(decoded(made), policy(groups=ours)) == (asked, None)


def test_no_shared_group() -> None:
    expected = ("no_shared_group", ALERT.HANDSHAKE_FAILURE)
    assert refusal(hello(groups=[0x0019, 0x0100], shares=[])) == expected


def test_two_shares_for_one_group() -> None:
    made = hello(NamedGroup.X25519, NamedGroup.X25519)
    assert refusal(made) == ("duplicate_share", ALERT.ILLEGAL_PARAMETER)


def test_share_outside_the_groups() -> None:
    made = hello(NamedGroup.X25519, NamedGroup.SECP256R1, groups=[NamedGroup.X25519])
    assert refusal(made) == ("share_not_in_groups", ALERT.ILLEGAL_PARAMETER)


@pytest.mark.parametrize("count", [1, 4, 5, 3000])
def test_shares_of_few_and_of_many_groups(count: int) -> None:
    groups = [NamedGroup.X25519, *range(0x2000, 0x2000 + count - 1)]
    shares = [Share.new(NamedGroup.X25519)]
    shares += [Share(group, b"\0", lambda _: b"") for group in groups[1:]]
    assert answered(hello(groups=groups, shares=shares)).group == NamedGroup.X25519
    unlisted = Share(0x1FFF, b"\0", lambda _: b"")
    outside = ("share_not_in_groups", ALERT.ILLEGAL_PARAMETER)
    assert refusal(hello(groups=groups, shares=[*shares, unlisted])) == outside
    twice = ("duplicate_share", ALERT.ILLEGAL_PARAMETER)
    assert refusal(hello(groups=groups, shares=[*shares, shares[-1]])) == twice


# --- name -------------------------------------------------------------------------------------

EXACT, WILD, DEFAULT = (ServerName(index, (credential(),)) for index in range(3))
NAMES = Policy(
    names={"exact.example": EXACT, "www.wild.example": EXACT},
    wildcards={".wild.example": WILD},
    default=DEFAULT,
)


@pytest.mark.requirement("A29")
@pytest.mark.parametrize(
    ("asked", "entry"),
    [
        (b"exact.example", EXACT),
        (b"EXACT.Example", EXACT),
        (b"exact.example.", EXACT),
        (b"a.wild.example", WILD),
        (b"www.wild.example", EXACT),
        (b"a.b.wild.example", DEFAULT),
        (b"wild.example", DEFAULT),
        (b".wild.example", DEFAULT),
        (b"other.example", DEFAULT),
        (b"localhost", DEFAULT),
        (b"192.0.2.1", DEFAULT),
        (None, DEFAULT),
    ],
)
def test_name(asked: bytes | None, entry: ServerName) -> None:
    name, found = choose_name(decoded(hello(server_name=asked)), NAMES)
    assert found is entry
    assert name == (asked and asked.decode().lower().removesuffix("."))


@pytest.mark.parametrize("asked", [b"other.example", b"a.b.wild.example", None])
def test_unknown_name_without_a_default(asked: bytes | None) -> None:
    strict = Policy(names=NAMES.names, wildcards=NAMES.wildcards)
    expected = ("unknown_name", ALERT.UNRECOGNIZED_NAME)
    assert refusal(hello(server_name=asked), strict) == expected


@pytest.mark.parametrize(
    "asked", [b"a\0b", b"\xc3\xa9.example", b"a b", b".", b"a\nb", b"\x7f", 254 * b"a"]
)
def test_bad_name(asked: bytes) -> None:
    expected = ("bad_server_name", ALERT.ILLEGAL_PARAMETER)
    assert refusal(hello(server_name=asked), NAMES) == expected


@pytest.mark.parametrize("asked", [NAME.encode(), None])
def test_server_name_is_acknowledged_where_sent(asked: bytes | None) -> None:
    client = answered(hello(server_name=asked))
    assert (ExtensionType.SERVER_NAME in client.encrypted_extensions) == (asked is not None)


# --- certificate ------------------------------------------------------------------------------


def several(*kinds: str) -> Policy:
    return Policy(names={NAME: ServerName(0, tuple(credential(kind) for kind in kinds))})


@pytest.mark.requirement("A29")
@pytest.mark.parametrize(
    ("schemes", "chosen"),
    [
        ((SCHEME.ECDSA_SECP256R1_SHA256, SCHEME.RSA_PSS_RSAE_SHA256), "ecdsa-p256"),
        ((SCHEME.RSA_PSS_RSAE_SHA512, SCHEME.ECDSA_SECP256R1_SHA256), "ecdsa-p256"),
        ((SCHEME.RSA_PSS_RSAE_SHA512,), "rsa-2048"),
        ((SCHEME.RSA_PKCS1_SHA256, SCHEME.RSA_PSS_RSAE_SHA256), "rsa-2048"),
        ((SCHEME.ECDSA_SECP384R1_SHA384,), "ecdsa-p384"),
        ((SCHEME.ED25519, 0x0808), "ed25519"),
    ],
)
def test_certificate_by_what_the_client_verifies(
    schemes: tuple[SignatureScheme, ...], chosen: str
) -> None:
    ours = several("ecdsa-p256", "rsa-2048", "ed25519", "ecdsa-p384")
    # The CA's own signature is ECDSA P-256; a client that cannot verify it gets the chain anyway.
    client = answered(hello(schemes=schemes), ours)
    single = answered(hello(schemes=schemes), several(chosen))
    assert client.certificate == single.certificate
    assert client.scheme in schemes


def test_no_shared_scheme() -> None:
    expected = ("no_shared_scheme", ALERT.HANDSHAKE_FAILURE)
    made = hello(schemes=[SCHEME.RSA_PSS_RSAE_SHA256, SCHEME.ED25519])
    assert refusal(made, several("ecdsa-p256")) == expected
    # RFC 8446, Section 4.2.3: PKCS1 is for certificates only, never for CertificateVerify.
    assert refusal(hello(schemes=[SCHEME.RSA_PKCS1_SHA256]), several("rsa-2048")) == expected


def test_signature_algorithms_cert_chooses_the_chain() -> None:
    signer = FixedSigner(SCHEME.ED25519)
    by_rsa, by_ecdsa, by_unknown = (
        Credential(name, signer, frozenset([chain]))
        for name, chain in (
            (b"rsa", SCHEME.RSA_PKCS1_SHA256),
            (b"ecdsa", SCHEME.ECDSA_SECP256R1_SHA256),
            (b"unknown", None),
        )
    )
    entry = ServerName(0, (by_unknown, by_rsa, by_ecdsa))

    def chosen(**changes: object) -> Credential:
        return choose_credential(decoded(hello(schemes=[SCHEME.ED25519], **changes)), entry)[0]

    assert chosen(certificate_schemes=[SCHEME.ECDSA_SECP256R1_SHA256]) is by_ecdsa
    assert chosen(certificate_schemes=[SCHEME.RSA_PKCS1_SHA256]) is by_rsa
    assert chosen(certificate_schemes=[SCHEME.ED25519]) is by_unknown, "the first, anyway"
    assert chosen() is by_unknown, "signature_algorithms stands for both"


# --- ALPN -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "ours", "chosen"),
    [
        ([b"h2", b"http/1.1"], (b"http/1.1",), b"http/1.1"),
        ([b"http/1.1", b"h2"], (b"h2", b"http/1.1"), b"h2"),
        ([b"h2"], (), None),
        (None, (b"http/1.1",), None),
    ],
)
def test_alpn(offered: list[bytes] | None, ours: tuple[bytes, ...], chosen: bytes | None) -> None:
    client = answered(hello(alpn=offered), policy(alpn=ours))
    sent = client.encrypted_extensions.get(16)
    assert sent == (chosen and (len(chosen) + 1).to_bytes(2) + len(chosen).to_bytes(1) + chosen)


def test_no_shared_protocol() -> None:
    expected = ("no_shared_protocol", ALERT.NO_APPLICATION_PROTOCOL)
    assert refusal(hello(alpn=[b"h2", b"H2"]), policy(alpn=(b"http/1.1",))) == expected


# --- order ------------------------------------------------------------------------------------


class Refusing:
    """An ``Entropy`` that must not be asked."""

    def random(self, size: int) -> bytes:
        raise AssertionError("asked for randomness")

    def agree(self, group: NamedGroup, client_share: bytes) -> object:
        raise AssertionError("asked for a key")


@pytest.mark.parametrize(
    "made",
    [
        hello(suites=[0xC02F]),
        hello(groups=[0x0019], shares=[]),
        hello(schemes=[0x0401]),
        hello(server_name=b"a b"),
        hello(alpn=[b"h2"]),
        hello(shares=[]),
    ],
)
def test_no_expensive_operation_for_what_is_refused_or_retried(made: Hello) -> None:
    try:
        result = answer(decoded(made), policy(alpn=(b"http/1.1",)), Refusing())  # type: ignore[arg-type]  # never asked
    except TlsError as error:
        assert error.reason in set(Reason)
    else:
        assert isinstance(result, RetryNeeded)
