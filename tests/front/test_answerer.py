"""A listener's decisions without a socket: first hello, second hello, reply, refusal."""

from __future__ import annotations

import pytest

from proxy.front import Answerer, CookieKeys, HandshakeTable, Stage, build_policy
from proxy.tls import PeerMisbehaved, SystemEntropy, TlsError, WholeHello
from proxy.wire import AlertDescription, NamedGroup
from tests.front.site import NAME, settings
from tests.tls.hello import Hello, hello

KEY = b"\x04connection"
NOW = 1000.0


def _answerer(limit: int = 10) -> Answerer:
    entropy = SystemEntropy()
    listener = settings()
    return Answerer(
        listener,
        build_policy(listener),
        HandshakeTable(limit),
        CookieKeys(entropy.random, NOW),
        entropy,
        generation=1,
    )


def _whole(one: Hello) -> WholeHello:
    return WholeHello(one.encode(), b"")


@pytest.mark.requirement("A8", "A30")
def test_a_hello_with_a_share_takes_a_slot_and_waits_for_its_reply() -> None:
    answerer = _answerer()
    answer = answerer.first_hello(KEY, _whole(hello(server_name=NAME.encode())), NOW)
    assert (answer.stage, answer.kind) == (Stage.REPLY, "direct")
    assert answerer.table.find(KEY) is not None


@pytest.mark.requirement("A31")
def test_a_hello_without_a_usable_share_takes_no_slot() -> None:
    answerer = _answerer()
    asking = hello(server_name=NAME.encode(), shares=[])
    answer = answerer.first_hello(KEY, _whole(asking), NOW)
    assert (answer.stage, answer.kind) == (Stage.SECOND_HELLO, "retry")
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
