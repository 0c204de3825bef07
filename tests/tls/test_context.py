"""The byte form of a context: round trips; truncated, extended, foreign or impossible ones."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tls import Established, Retried, Secret, TlsContext, decode_context, encode_context
from proxy.wire import CipherSuite, DecodeError, NamedGroup
from tests.tls.material import pseudo_random

ESTABLISHED = Established(
    suite=CipherSuite.TLS_AES_256_GCM_SHA384,
    group=NamedGroup.X25519MLKEM768,
    server_name="server.example",
    alpn="http/1.1",
    name_index=513,
    read_secret=Secret(pseudo_random("read", 48)),
    read_sequence=(1 << 64) - 1,
    write_secret=Secret(pseudo_random("write", 48)),
    write_sequence=7,
    update_owed=True,
    read_closed=True,
    write_closed=True,
    partial=b"\x18\0",
    unread=b"ciphertext to open",
    unsent=b"ciphertext to send",
)
PLAIN = Established(
    suite=CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
    group=NamedGroup.SECP256R1,
    server_name=None,
    alpn=None,
    name_index=0,
    read_secret=Secret(bytes(32)),
    read_sequence=0,
    write_secret=Secret(bytes(32)),
    write_sequence=0,
)
RETRIED = Retried(
    suite=CipherSuite.TLS_AES_128_GCM_SHA256,
    group=NamedGroup.SECP384R1,
    first_hash=pseudo_random("hash", 32),
    retry_request=b"retry request",
    hello=b"hello",
    unread=b"unread",
)
NOTHING = Secret(b"")
CONTEXTS = pytest.mark.parametrize("context", [ESTABLISHED, PLAIN, RETRIED])


def plain(context: TlsContext) -> TlsContext | tuple[Established, bytes, bytes]:
    """Something that can be compared: secrets cannot."""
    if isinstance(context, Retried):
        return context
    return (
        replace(context, read_secret=NOTHING, write_secret=NOTHING),
        context.read_secret.reveal(),
        context.write_secret.reveal(),
    )


@CONTEXTS
def test_round_trip(context: TlsContext) -> None:
    assert plain(decode_context(encode_context(context))) == plain(context)


@pytest.mark.parametrize("field", ["update_owed", "read_closed", "write_closed"])
def test_each_flag_travels_alone(field: str) -> None:
    context = replace(PLAIN, **{field: True})  # type: ignore[arg-type]  # a bool
    assert plain(decode_context(encode_context(context))) == plain(context)


@CONTEXTS
def test_every_truncation_is_refused(context: TlsContext) -> None:
    encoded = encode_context(context)
    for size in range(len(encoded)):
        with pytest.raises(DecodeError):
            decode_context(encoded[:size])


@CONTEXTS
def test_trailing_bytes_are_refused(context: TlsContext) -> None:
    with pytest.raises(DecodeError, match="trailing_bytes"):
        decode_context(encode_context(context) + b"\0")


@CONTEXTS
@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_version_is_refused(context: TlsContext, version: int) -> None:
    with pytest.raises(DecodeError, match="context_version"):
        decode_context(bytes((version,)) + encode_context(context)[1:])


@pytest.mark.parametrize("stage", [0, 1, 3, 5, 255])
def test_unknown_stage_is_refused(stage: int) -> None:
    encoded = encode_context(PLAIN)
    with pytest.raises(DecodeError, match="context_stage"):
        decode_context(encoded[:1] + bytes((stage,)) + encoded[2:])


@pytest.mark.parametrize("change", ["1300001d", "13010000", "0a0a001d"])
def test_unknown_parameters_are_refused(change: str) -> None:
    encoded = encode_context(PLAIN)
    with pytest.raises(DecodeError, match="context_parameters"):
        decode_context(encoded[:2] + bytes.fromhex(change) + encoded[6:])


def test_secret_of_another_suite_is_refused() -> None:
    for field in ("read_secret", "write_secret"):
        wrong = replace(PLAIN, **{field: Secret(bytes(48))})  # type: ignore[arg-type]  # a Secret
        with pytest.raises(DecodeError, match="context_secret"):
            decode_context(encode_context(wrong))
    with pytest.raises(DecodeError, match="context_hash"):
        decode_context(encode_context(replace(RETRIED, first_hash=bytes(48))))


def test_flag_that_is_none_is_refused() -> None:
    encoded = bytearray(encode_context(PLAIN))
    flags = len(encoded) - 1 - 4 - 4 - 3
    assert encoded[flags:] == bytes(12)
    for index in range(3):
        wrong = encoded.copy()
        wrong[flags + index] = 2
        with pytest.raises(DecodeError, match="context_flag"):
            decode_context(bytes(wrong))


def test_text_that_is_none_is_refused() -> None:
    encoded = encode_context(replace(PLAIN, server_name="a"))
    with pytest.raises(DecodeError, match="context_text"):
        decode_context(encoded.replace(b"\1a", b"\1\xff", 1))


def test_claimed_size_is_bounded() -> None:
    encoded = encode_context(replace(PLAIN, unsent=b""))
    with pytest.raises(DecodeError, match="context_size"):
        decode_context(encoded[:-4] + b"\xff\xff\xff\xff")


@given(st.binary(max_size=300), st.sampled_from([b"", b"\1\2", b"\1\4"]))
def test_any_bytes_decode_or_are_refused(data: bytes, start: bytes) -> None:
    try:
        decode_context(start + data)
    except DecodeError as error:
        assert error.reason
