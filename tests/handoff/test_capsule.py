"""Capsules come back as they went in, and anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handoff import Capsule, ChannelError, decode_capsule, encode_capsule
from proxy.tls import Established, Retried, Secret, encode_context
from proxy.wire import CipherSuite, NamedGroup

RETRIED = Retried(
    suite=CipherSuite.TLS_AES_128_GCM_SHA256,
    group=NamedGroup.X25519,
    first_hash=bytes(32),
    retry_request=b"retry",
    hello=b"hello",
    unread=b"behind",
)
ESTABLISHED = Established(
    suite=CipherSuite.TLS_AES_256_GCM_SHA384,
    group=NamedGroup.SECP384R1,
    server_name="example.org",
    alpn="http/1.1",
    name_index=3,
    read_secret=Secret(b"r" * 48),
    read_sequence=1 << 40,
    write_secret=Secret(b"w" * 48),
    write_sequence=5,
    unread=b"unread",
    unsent=b"unsent",
)


@pytest.mark.requirement("A39", "A56", "A57")
@pytest.mark.parametrize("context", [RETRIED, ESTABLISHED], ids=["retried", "established"])
def test_round_trip(context: Retried | Established) -> None:
    decoded = decode_capsule(encode_capsule(Capsule(9, context, 513, 14.25)))
    assert (decoded.generation, decoded.listener, decoded.remaining_s) == (9, 513, 14.25)
    assert encode_context(decoded.context) == encode_context(context)


def test_the_bytes_are_those_of_the_struct() -> None:
    data = encode_capsule(Capsule(0x01020304, RETRIED, 0x0506, 0x0708090A / 1000))
    assert data == bytes(
        [2, *(1, 2, 3, 4), *(5, 6), *(7, 8, 9, 10)],
    ) + encode_context(RETRIED)


@pytest.mark.parametrize(
    ("remaining_s", "comes"),
    [(0.0, 0.0), (-0.25, 0.0), (0.0004, 0.0), (1.2345, 1.234), (1e9, 0xFFFFFFFF / 1000)],
)
def test_time_left_is_of_milliseconds_and_never_negative(remaining_s: float, comes: float) -> None:
    capsule = Capsule(9, RETRIED, 0, remaining_s)
    assert decode_capsule(encode_capsule(capsule)).remaining_s == comes


def test_every_truncation_and_a_byte_too_many_are_refused() -> None:
    data = encode_capsule(Capsule(9, ESTABLISHED))
    for end in range(len(data)):
        with pytest.raises(ChannelError):
            decode_capsule(data[:end])
    with pytest.raises(ChannelError):
        decode_capsule(data + b"\0")


def test_another_version_is_refused() -> None:
    data = encode_capsule(Capsule(9, ESTABLISHED))
    for version in (0, 1, 3):
        with pytest.raises(ChannelError, match="version"):
            decode_capsule(bytes([version]) + data[1:])


@given(st.binary(max_size=300))
def test_any_bytes_give_a_capsule_or_our_error(data: bytes) -> None:
    for candidate in (data, b"\2" + data, encode_capsule(Capsule(1, ESTABLISHED))[:15] + data):
        try:
            decode_capsule(candidate)
        except ChannelError:
            continue


def test_no_secret_in_a_repr() -> None:
    assert "rrr" not in repr(Capsule(9, ESTABLISHED))
