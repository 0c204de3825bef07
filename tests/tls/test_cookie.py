"""HelloRetryRequest: what the cookie carries, and every way in which it is not accepted."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from proxy.tls import (
    Connection,
    Established,
    Flight,
    Policy,
    Retried,
    RetryNeeded,
    Secret,
    TlsError,
    answer,
    decode_context,
    encode_context,
    finish,
    plan_retry,
    redeem,
    retry,
)
from proxy.tls.defaults import COOKIE_LIFETIME_S
from proxy.wire import AlertDescription, CipherSuite, ClientHello, ContentType, NamedGroup
from tests.tls.client import Client
from tests.tls.hello import Hello, Share, hello
from tests.tls.material import ENTROPY, policy, pseudo_random
from tests.tls.states import record

KEY, OLD_KEY = Secret(bytes(32)), Secret(bytes(range(32)))
CONNECTION = b"5-tuple and listener"
NOW = 1000.0
P256, X25519 = NamedGroup.SECP256R1, NamedGroup.X25519


@dataclass
class Round:
    """A hello that was answered by a retry, and the client behind it."""

    client: Client
    first: Hello
    asked: bool

    def second(self, **changes: object) -> Hello:
        """The hello that the RFC asks for, or one with changes."""
        shares = [Share.new(NamedGroup(self.client.group))] if self.asked else self.first.shares
        right = replace(self.first, cookie=self.client.cookie, shares=shares, early_data=False)
        return replace(right, **changes)  # type: ignore[arg-type]  # fields by name


def decoded(made: Hello) -> ClientHello:
    return ClientHello.decode(made.encode())


def started(
    first: Hello | None = None, ours: Policy | None = None, *, key: Secret = KEY
) -> tuple[Round, bytes]:
    """The first hello and its retry: forced, where the hello has the share already."""
    first = first or hello(X25519, groups=[X25519, P256])
    ours = ours or policy(groups=(P256,))
    needed = plan_retry(decoded(first), ours)
    data = retry(decoded(first), needed.suite, needed.group, key, CONNECTION, NOW)
    client = Client(first)
    client.start()
    asked = needed.group not in [share.group for share in first.shares or ()]
    client.retry(data)
    if not asked:
        assert client.group == 0, "no group is named where its share is there"
        client.group = needed.group
    return Round(client, first, asked), data


def redeemed(
    second: Hello,
    *,
    keys: tuple[Secret, ...] = (KEY,),
    connection: bytes = CONNECTION,
    now: float = NOW + 1,
) -> Retried:
    return redeem(decoded(second), b"", keys, connection, now)


def refusal(second: Hello, **changes: object) -> tuple[str, AlertDescription | None]:
    with pytest.raises(TlsError) as caught:
        redeemed(second, **changes)  # type: ignore[arg-type]  # by name
    return caught.value.reason, caught.value.alert


# --- the round trip -----------------------------------------------------------------------------


@pytest.mark.parametrize("suite", CipherSuite)
@pytest.mark.parametrize("group", NamedGroup)
@pytest.mark.parametrize("compatible", [False, True])
def test_whole_handshake(suite: CipherSuite, group: NamedGroup, compatible: bool) -> None:
    session_id = pseudo_random("session id", 32) if compatible else b""
    first = hello(shares=[], suites=[suite], groups=[group], session_id=session_id)
    needed = answer(decoded(first), policy(), ENTROPY)
    assert isinstance(needed, RetryNeeded)
    data = retry(decoded(first), needed.suite, needed.group, KEY, CONNECTION, NOW)
    client = Client(first)
    client.start()
    client.retry(data)
    assert client.group == group
    assert client.plaintext_types == ([ContentType.CHANGE_CIPHER_SPEC] if compatible else [])
    second = Round(client, first, True).second()
    client.again(second)
    assert_finishes(client, redeemed(second))
    assert client.plaintext_types == [], "the CCS went behind the retry"
    assert (client.group, client.parameters.suite) == (group, suite)


def assert_finishes(client: Client, context: Retried) -> None:
    assert decode_context(encode_context(context)) == context
    flight = answer(context, policy(), ENTROPY)
    assert isinstance(flight, Flight)
    client.plaintext_types = []
    client.receive(flight.data)
    established = finish(flight.half_open, client.finish())
    assert isinstance(established, Established)
    assert client.text(Connection(established).send(b"hi")) == b"hi"


def test_share_that_was_there_is_kept() -> None:
    turn, _ = started(hello(X25519, P256))
    assert not turn.asked
    second = turn.second()
    turn.client.again(second)
    assert_finishes(turn.client, redeemed(second))


def test_context_of_the_retry() -> None:
    turn, data = started()
    second = turn.second()
    context = redeem(decoded(second), b"behind", (KEY,), CONNECTION, NOW)
    assert context.suite == CipherSuite.TLS_AES_128_GCM_SHA256
    assert context.group == P256
    assert context.first_hash == hashlib.sha256(turn.first.encode()).digest()
    assert context.retry_request == data[5:]
    assert context.hello == second.encode()
    assert context.unread == b"behind"


def test_early_data_between_the_hellos() -> None:
    turn, _ = started(replace(hello(X25519, groups=[X25519, P256]), early_data=True))
    redeemed(turn.second())
    expected = ("hello_changed", AlertDescription.ILLEGAL_PARAMETER)
    assert refusal(turn.second(early_data=True)) == expected


def test_older_keys_are_accepted() -> None:
    turn, _ = started(key=OLD_KEY)
    redeemed(turn.second(), keys=(KEY, OLD_KEY))
    assert refusal(turn.second(), keys=(KEY,))[0] == "bad_cookie"
    assert refusal(turn.second(), keys=())[0] == "bad_cookie"


# --- cookies that are not accepted --------------------------------------------------------------

ILLEGAL = AlertDescription.ILLEGAL_PARAMETER


def test_missing() -> None:
    turn, _ = started()
    expected = ("missing_extension", AlertDescription.MISSING_EXTENSION)
    assert refusal(turn.second(cookie=None)) == expected


def test_forged_in_every_byte() -> None:
    turn, _ = started()
    cookie = turn.client.cookie
    for index in range(len(cookie)):
        forged = cookie[:index] + bytes((cookie[index] ^ 1,)) + cookie[index + 1 :]
        assert refusal(turn.second(cookie=forged)) == ("bad_cookie", ILLEGAL)


def test_truncated_or_extended() -> None:
    turn, _ = started()
    cookie = turn.client.cookie
    for other in [cookie[:size] for size in range(1, len(cookie))] + [cookie + b"\0"]:
        assert refusal(turn.second(cookie=other)) == ("bad_cookie", ILLEGAL)


def test_stale() -> None:
    turn, _ = started()
    redeemed(turn.second(), now=NOW + COOKIE_LIFETIME_S)
    late = NOW + COOKIE_LIFETIME_S + 0.002
    assert refusal(turn.second(), now=late) == ("bad_cookie", ILLEGAL)


def test_other_connection() -> None:
    turn, _ = started()
    for other in (b"", CONNECTION + b"\0", CONNECTION[:-1], b"x" + CONNECTION[1:]):
        assert refusal(turn.second(), connection=other) == ("bad_cookie", ILLEGAL)


def test_other_hellos_cookie() -> None:
    turn, _ = started()
    other, _ = started(hello(X25519, groups=[X25519, P256], random=pseudo_random("other", 32)))
    assert refusal(turn.second(cookie=other.client.cookie)) == ("hello_changed", ILLEGAL)


# --- what a second hello may and may not change -------------------------------------------------

CHANGES: dict[str, Callable[[Hello], Hello]] = {
    "random": lambda one: replace(one, random=pseudo_random("other", 32)),
    "legacy version": lambda one: replace(one, legacy_version=0x0301),
    "session id": lambda one: replace(one, session_id=pseudo_random("other", 32)),
    "suite left out": lambda one: replace(one, suites=one.suites[1:]),
    "suite added": lambda one: replace(one, suites=[*one.suites, 0x1304]),
    "suite order": lambda one: replace(one, suites=one.suites[::-1]),
    "versions": lambda one: replace(one, versions=(0x0304, 0x0303)),
    "groups": lambda one: replace(one, groups=[P256, X25519]),
    "schemes": lambda one: replace(one, schemes=(one.schemes or ())[1:]),
    "schemes for certificates": lambda one: replace(one, certificate_schemes=[0x0403]),
    "server name": lambda one: replace(one, server_name=b"other.example"),
    "no server name": lambda one: replace(one, server_name=None),
    "protocols": lambda one: replace(one, alpn=[b"h2"]),
    "unknown extension": lambda one: replace(one, extra=[(0x0A0A, b"")]),
    "psk modes": lambda one: replace(one, extra=[(45, b"\1\1")]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_hello(change: Callable[[Hello], Hello]) -> None:
    turn, _ = started()
    second = turn.second()
    redeemed(second)
    assert refusal(change(second)) == ("hello_changed", ILLEGAL)


@pytest.mark.parametrize("sizes", [(0, 100), (100, 0), (100, 7)])
def test_padding_may_change(sizes: tuple[int, int]) -> None:
    before, after = ([(21, bytes(size))] if size else [] for size in sizes)
    turn, _ = started(hello(X25519, groups=[X25519, P256], extra=before))
    redeemed(turn.second(extra=after))


def test_pre_shared_key_may_change() -> None:
    start = bytes.fromhex("000700016100000000" + "0021" + "20")
    modes = (45, b"\1\1")
    turn, _ = started(hello(X25519, groups=[X25519, P256], extra=[modes, (41, start + bytes(32))]))
    redeemed(turn.second(extra=[modes, (41, start + 32 * b"\1")]))
    redeemed(turn.second(extra=[modes]))


@pytest.mark.parametrize(
    "shares", [(), (X25519,), (P256, X25519), (P256, P256)], ids=["none", "other", "two", "twice"]
)
def test_exactly_the_share_that_was_asked_for(shares: tuple[NamedGroup, ...]) -> None:
    turn, _ = started()
    second = turn.second(shares=[Share.new(group) for group in shares])
    assert refusal(second) == ("bad_key_share", ILLEGAL)


@pytest.mark.parametrize("shares", [(), (X25519,), (P256,), (X25519, P256), (P256, X25519)])
def test_shares_do_not_change_where_none_was_asked_for(shares: tuple[NamedGroup, ...]) -> None:
    turn, _ = started(hello(X25519, P256))
    second = turn.second(shares=[Share.new(group) for group in shares])
    assert refusal(second) == ("hello_changed", ILLEGAL)


def test_change_cipher_spec_record_stands_behind_a_compatible_retry() -> None:
    first = hello(X25519, groups=[X25519, P256], session_id=bytes(32))
    _, data = started(first)
    assert data.endswith(record(20, b"\1"))
    _, data = started()
    assert b"\x14\3\3" not in data[-6:]
