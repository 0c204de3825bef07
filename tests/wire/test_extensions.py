"""Extensions of a hello: each decoder on good, truncated and overlong data; the walk over them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import (
    AlertDescription,
    DecodeError,
    ExtensionType,
    KeyShareEntry,
    decode_extensions,
    u8_vector,
    u16_vector,
)
from proxy.wire.extensions import _FRESH, _REMEMBERED, _REMEMBERING, DECODERS
from tests.tls.hello import extension

KINDS = ExtensionType
PSK = u16_vector(u16_vector(b"identity") + bytes(4)) + u16_vector(u8_vector(bytes(32)))
TWO_PSKS = u16_vector(2 * (u16_vector(b"identity") + bytes(4))) + u16_vector(
    2 * u8_vector(bytes(32))
)

GOOD: list[tuple[int, bytes, object]] = [
    (KINDS.SERVER_NAME, bytes.fromhex("0006000003") + b"abc", b"abc"),
    (KINDS.SERVER_NAME, bytes.fromhex("000407000161"), None),
    (KINDS.SERVER_NAME, bytes.fromhex("000a07000161") + bytes.fromhex("000003") + b"abc", b"abc"),
    (KINDS.SUPPORTED_GROUPS, bytes.fromhex("0004001d0017"), (0x1D, 0x17)),
    (KINDS.SIGNATURE_ALGORITHMS, bytes.fromhex("00020403"), (0x0403,)),
    (KINDS.SIGNATURE_ALGORITHMS_CERT, bytes.fromhex("00020403"), (0x0403,)),
    (KINDS.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, b"\0\3\2h2", (b"h2",)),
    (KINDS.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, b"\0\5\2h2\1x", (b"h2", b"x")),
    (KINDS.SUPPORTED_VERSIONS, bytes.fromhex("0403040303"), (0x0304, 0x0303)),
    (KINDS.COOKIE, b"\0\1x", b"x"),
    (KINDS.PSK_KEY_EXCHANGE_MODES, b"\2\0\1", b"\0\1"),
    (KINDS.EARLY_DATA, b"", True),
    (KINDS.KEY_SHARE, b"\0\0", ()),
    (KINDS.KEY_SHARE, bytes.fromhex("0005001d0001ff"), (KeyShareEntry(0x1D, b"\xff"),)),
    (KINDS.PRE_SHARED_KEY, PSK, PSK),
    (KINDS.PRE_SHARED_KEY, TWO_PSKS, TWO_PSKS),
]

BAD: list[tuple[int, str]] = [
    (KINDS.SERVER_NAME, "0000"),  # empty list
    (KINDS.SERVER_NAME, "0006000004616263"),  # a byte missing
    (KINDS.SERVER_NAME, "0003000001"),  # a name past the end
    (KINDS.SUPPORTED_GROUPS, "0000"),
    (KINDS.SUPPORTED_GROUPS, "0003001d00"),
    (KINDS.SIGNATURE_ALGORITHMS, "0000"),
    (KINDS.SIGNATURE_ALGORITHMS_CERT, "0000"),
    (KINDS.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, "0000"),
    (KINDS.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, "000100"),  # an empty name
    (KINDS.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, "0003000161"),
    (KINDS.APPLICATION_LAYER_PROTOCOL_NEGOTIATION, "0003036832"),
    (KINDS.SUPPORTED_VERSIONS, "00"),
    (KINDS.SUPPORTED_VERSIONS, "03030403"),
    (KINDS.COOKIE, "0000"),
    (KINDS.PSK_KEY_EXCHANGE_MODES, "00"),
    (KINDS.EARLY_DATA, "00"),
    (KINDS.KEY_SHARE, "0004001d0000"),  # an empty key
    (KINDS.KEY_SHARE, "0003001d00"),
    (KINDS.KEY_SHARE, "0006001d0003ffff"),
    (KINDS.PRE_SHARED_KEY, "00000000"),
    (KINDS.PRE_SHARED_KEY, "0007000161000000000000"),  # no binder
    (KINDS.PRE_SHARED_KEY, "000700016100000000002120" + 31 * "00"),  # a binder past the end
    (KINDS.PRE_SHARED_KEY, "000700016100000000" + "0020" + "1f" + 31 * "00"),  # 31 bytes
]


@pytest.mark.parametrize(("number", "data", "value"), GOOD)
def test_decoded(number: int, data: bytes, value: object) -> None:
    assert decode_extensions(extension(number, data)) == {number: value}


@pytest.mark.parametrize(("number", "data", "value"), GOOD)
def test_every_truncation_is_refused(number: int, data: bytes, value: object) -> None:
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode_extensions(extension(number, data[:size]))


@pytest.mark.parametrize(("number", "data", "value"), GOOD)
def test_trailing_bytes_are_refused(number: int, data: bytes, value: object) -> None:
    with pytest.raises(DecodeError):
        decode_extensions(extension(number, data + b"\0"))


@pytest.mark.parametrize(("number", "data"), BAD)
def test_malformed(number: int, data: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_extensions(extension(number, bytes.fromhex(data)))
    assert caught.value.alert in (
        AlertDescription.DECODE_ERROR,
        AlertDescription.ILLEGAL_PARAMETER,
    )


def test_every_decoder_has_a_case() -> None:
    assert {number for number, _, _ in GOOD} == set(DECODERS)
    assert {number for number, _ in BAD} == set(DECODERS)


@pytest.mark.parametrize("data", ["000800000161" + "00000162", "0003000000"])
def test_two_or_empty_host_names_are_illegal(data: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_extensions(extension(KINDS.SERVER_NAME, bytes.fromhex(data)))
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_as_many_binders_as_identities() -> None:
    data = u16_vector(u16_vector(b"identity") + bytes(4)) + u16_vector(2 * u8_vector(bytes(32)))
    with pytest.raises(DecodeError, match="binder_count") as caught:
        decode_extensions(extension(KINDS.PRE_SHARED_KEY, data))
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


@pytest.mark.parametrize("number", [0, 0x0A0A, 0xFFFF])
def test_duplicates_are_illegal_known_or_not(number: int) -> None:
    data = b"\0\4\0\0\1a" if number == 0 else b""
    with pytest.raises(DecodeError, match="duplicate_extension") as caught:
        decode_extensions(2 * extension(number, data))
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


def test_pre_shared_key_must_be_last() -> None:
    psk = extension(KINDS.PRE_SHARED_KEY, PSK)
    decode_extensions(extension(0x0A0A, b"") + psk)
    with pytest.raises(DecodeError, match="pre_shared_key_not_last") as caught:
        decode_extensions(psk + extension(0x0A0A, b""))
    assert caught.value.alert == AlertDescription.ILLEGAL_PARAMETER


@pytest.mark.parametrize("size", range(1, 8))
def test_truncated_block(size: int) -> None:
    with pytest.raises(DecodeError, match="truncated_extension"):
        decode_extensions(extension(0x0A0A, b"data")[:size])


def test_what_is_remembered_is_bounded() -> None:
    """Some values of each kind, short ones, and none that differs in every hello."""
    for number, decoder in _REMEMBERING.items():
        if number in _FRESH:
            assert decoder is DECODERS[number]
            continue
        info = getattr(decoder, "cache_info")  # noqa: B009  # not in the type of a decoder
        assert info().maxsize == _REMEMBERED
    groups = getattr(_REMEMBERING[KINDS.SUPPORTED_GROUPS], "cache_info")  # noqa: B009
    held = groups().currsize + groups().misses
    for _ in range(2):
        decoded = decode_extensions(extension(KINDS.SUPPORTED_GROUPS, u16_vector(bytes(300))))
        assert decoded == {KINDS.SUPPORTED_GROUPS: 150 * (0,)}
    assert groups().currsize + groups().misses == held, "too long"


@pytest.mark.parametrize(("number", "data", "value"), GOOD)
def test_remembered_is_as_decoded(number: int, data: bytes, value: object) -> None:
    for _ in range(2):
        assert decode_extensions(extension(number, data)) == {number: value}


def test_empty_block() -> None:
    assert decode_extensions(b"") == {}


@given(st.sampled_from(sorted(DECODERS)), st.binary(max_size=80))
def test_any_bytes_decode_or_are_refused(number: int, data: bytes) -> None:
    try:
        decode_extensions(extension(number, data))
    except DecodeError:
        return
