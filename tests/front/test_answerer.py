"""A listener's decisions without a socket: first hello, second hello, reply, refusal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.front import (
    Answer,
    Answerer,
    AnswerPolicy,
    CookieKeys,
    HandshakeTable,
    Pressure,
    PressureSettings,
    Stage,
    build_policy,
)
from proxy.front.answerer import TableFull
from proxy.tls import PeerMisbehaved, Retried, SystemEntropy, TlsError, WholeHello
from proxy.wire import AlertDescription, NamedGroup
from tests.front.site import NAME, settings
from tests.tls.client import Client
from tests.tls.hello import Hello, hello

KEY = b"\x04connection"
NOW = 1000.0


def _answerer(
    limit: int = 10, policy: AnswerPolicy = AnswerPolicy.DIRECT, pressed: bool = False
) -> Answerer:
    entropy = SystemEntropy()
    listener = settings(answer=policy)
    pressure = Pressure(PressureSettings(), NOW)
    pressure.active = pressed
    return Answerer(
        listener,
        build_policy(listener),
        HandshakeTable(limit),
        CookieKeys(entropy.random, NOW),
        entropy,
        pressure,
        generation=1,
    )


def _whole(one: Hello) -> WholeHello:
    return WholeHello(one.encode(), b"")


@pytest.mark.requirement("A8", "A30")
def test_a_hello_with_a_share_takes_a_slot_and_waits_for_its_reply() -> None:
    answerer = _answerer()
    answer = answerer.first_hello(KEY, _whole(hello(server_name=NAME.encode())), NOW)
    assert answer.stage is Stage.REPLY
    assert answerer.table.find(KEY) is not None


@pytest.mark.requirement("A31")
def test_a_hello_without_a_usable_share_takes_no_slot() -> None:
    answerer = _answerer()
    asking = hello(server_name=NAME.encode(), shares=[])
    answer = answerer.first_hello(KEY, _whole(asking), NOW)
    assert answer.stage is Stage.SECOND_HELLO
    assert len(answerer.table) == 0


def test_a_second_hello_needs_the_cookie_and_a_first_one_must_have_none() -> None:
    answerer = _answerer()
    whole = _whole(hello(server_name=NAME.encode()))
    with pytest.raises(PeerMisbehaved) as refused:
        answerer.second_hello(KEY, whole, NOW)
    assert refused.value.alert is AlertDescription.MISSING_EXTENSION
    with pytest.raises(PeerMisbehaved) as refused:
        answerer.first_hello(KEY, _whole(hello(server_name=NAME.encode(), cookie=b"x")), NOW)
    assert refused.value.alert is AlertDescription.ILLEGAL_PARAMETER
    assert len(answerer.table) == 0


@pytest.mark.parametrize("data", [b"\x17\x03\x03\x00\x14" + bytes(20), b"\x16\x03\x03\0\1\0"])
def test_a_refused_reply_frees_the_slot_and_tells_the_client(data: bytes) -> None:
    answerer = _answerer()
    answerer.first_hello(KEY, _whole(hello(NamedGroup.X25519, server_name=NAME.encode())), NOW)
    with pytest.raises(TlsError) as refused:
        answerer.reply(KEY, data)
    alert = answerer.refuse(KEY, refused.value)
    # Under our application keys already: an application_data record of one alert.
    assert alert[:5] == b"\x17\x03\x03\x00\x13"
    assert len(answerer.table) == 0


def test_an_error_before_the_flight_is_told_in_clear() -> None:
    answerer = _answerer()
    with pytest.raises(TlsError) as refused:
        answerer.first_hello(KEY, _whole(hello(server_name=b"other.test")), NOW)
    assert answerer.refuse(KEY, refused.value) == b"\x15\x03\x03\x00\x02\x02\x70"


def test_a_reply_without_a_slot_is_refused() -> None:
    with pytest.raises(PeerMisbehaved):
        _answerer().reply(KEY, b"")


# --- the cookie's time and key, and who answers by which policy ---------------------------


def _asked(answerer: Answerer, now: float) -> tuple[Hello, bytes]:
    """A first hello that was retried at this time, and the cookie."""
    first = hello(server_name=NAME.encode())
    client = Client(first)
    client.start()
    answer = answerer.first_hello(KEY, _whole(first), now)
    assert answer.stage is Stage.SECOND_HELLO
    client.retry(answer.data)
    return first, client.cookie


@pytest.mark.parametrize(
    ("asked", "returned"), [(0.0, 0.0), (0.0, 10.0), (59.0, 61.0), (59.999, 69.9), (185.0, 190.0)]
)
def test_a_cookie_outlives_its_key_and_not_its_time(asked: float, returned: float) -> None:
    answerer = _answerer(policy=AnswerPolicy.RETRY)
    first, cookie = _asked(answerer, NOW + asked)
    second = _whole(replace(first, cookie=cookie))
    assert isinstance(answerer.second_hello(KEY, second, NOW + returned), Retried)


@pytest.mark.parametrize(("asked", "returned"), [(0.0, 10.1), (59.0, 121.0), (0.0, 1e6)])
def test_a_cookie_has_an_end(asked: float, returned: float) -> None:
    answerer = _answerer(policy=AnswerPolicy.RETRY)
    first, cookie = _asked(answerer, NOW + asked)
    with pytest.raises(PeerMisbehaved) as refused:
        answerer.second_hello(KEY, _whole(replace(first, cookie=cookie)), NOW + returned)
    assert refused.value.reason == "bad_cookie"


@pytest.mark.parametrize("policy", AnswerPolicy)
@pytest.mark.parametrize("pressed", [False, True])
def test_who_answers_how(policy: AnswerPolicy, pressed: bool) -> None:
    answerer = _answerer(policy=policy, pressed=pressed)
    first = hello(server_name=NAME.encode())
    retries = policy is AnswerPolicy.RETRY or (policy is AnswerPolicy.ADAPTIVE and pressed)
    answer = answerer.first_hello(KEY, _whole(first), NOW)
    assert answer.stage is (Stage.SECOND_HELLO if retries else Stage.REPLY)
    assert len(answerer.table) == (not retries)


@pytest.mark.requirement("A5")
def test_where_the_table_is_full_a_retry_is_refused_and_nobody_has_to_go() -> None:
    answerer = _answerer(limit=1, policy=AnswerPolicy.ADAPTIVE)
    answerer.first_hello(b"other", _whole(hello(server_name=NAME.encode())), NOW)
    first, cookie = _asked(answerer, NOW)
    second = _whole(replace(first, cookie=cookie))
    with pytest.raises(TableFull) as refused:
        answerer.second_hello(KEY, second, NOW)
    assert refused.value.alert is AlertDescription.INTERNAL_ERROR
    answerer.forget(b"other")
    answer = answerer.second_hello(KEY, second, NOW)
    assert isinstance(answer, Answer)
    assert answer.stage is Stage.REPLY


def test_a_retry_is_not_retried() -> None:
    answerer = _answerer(policy=AnswerPolicy.RETRY)
    first, cookie = _asked(answerer, NOW)
    context = answerer.second_hello(KEY, _whole(replace(first, cookie=cookie)), NOW)
    assert isinstance(context, Retried)
    with pytest.raises(PeerMisbehaved) as refused:
        answerer.retried(KEY, replace(context, group=NamedGroup.SECP384R1))
    assert refused.value.reason == "bad_key_share"
    assert len(answerer.table) == 0
