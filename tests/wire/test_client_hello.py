"""ClientHello: decoded whole, refused at every truncation and with anything behind it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import AlertDescription, ClientHello, DecodeError, KeyShareEntry, NamedGroup
from tests.tls.hello import ALL_GROUPS, Hello, hello
from tests.tls.material import pseudo_random

FULL = hello(
    NamedGroup.X25519,
    NamedGroup.SECP256R1,
    session_id=pseudo_random("session id", 32),
    alpn=[b"h2", b"http/1.1"],
    certificate_schemes=[0x0403],
    cookie=b"cookie",
    early_data=True,
)


def resized(body: bytes) -> bytes:
    """A ClientHello around any body."""
    return b"\1" + len(body).to_bytes(3) + body


def test_every_field() -> None:
    message = FULL.encode()
    decoded = ClientHello.decode(message)
    assert decoded.message == message
    assert decoded.legacy_version == 0x0303
    assert decoded.random == FULL.random
    assert decoded.session_id == FULL.session_id
    assert decoded.cipher_suites == tuple(FULL.suites)
    assert decoded.compression_methods == b"\0"
    assert decoded.server_name == b"server.example"
    assert decoded.supported_versions == (0x0304,)
    assert decoded.supported_groups == ALL_GROUPS
    assert decoded.signature_algorithms == FULL.schemes
    assert decoded.signature_algorithms_cert == (0x0403,)
    assert decoded.key_shares == tuple(
        KeyShareEntry(share.group, share.key_exchange) for share in FULL.shares or ()
    )
    assert decoded.alpn == (b"h2", b"http/1.1")
    assert decoded.cookie == b"cookie"
    assert decoded.early_data


def test_nothing_but_the_fixed_fields() -> None:
    """A hello of TLS 1.2 may have no extensions at all, not even their length."""
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    decoded = ClientHello.decode(resized(body))
    assert decoded.extensions == {}
    assert decoded.server_name is None
    assert decoded.supported_versions is None
    assert decoded.key_shares is None
    assert decoded.alpn is None
    assert decoded.cookie is None
    assert not decoded.early_data
    assert ClientHello.decode(resized(body + b"\0\0")).extensions == {}


@pytest.mark.parametrize("resize", [resized, lambda body: FULL.encode()[:4] + body])
def test_every_truncation_is_refused(resize: Callable[[bytes], bytes]) -> None:
    body = FULL.encode()[4:]
    without_extensions = 2 + 32 + 1 + 32 + 2 + 2 * len(FULL.suites) + 2
    for size in range(len(body)):
        if size == without_extensions:
            assert ClientHello.decode(resize(body[:size])).extensions == {}
            continue
        with pytest.raises(DecodeError) as caught:
            ClientHello.decode(resize(body[:size]))
        assert caught.value.alert == AlertDescription.DECODE_ERROR


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(DecodeError, match="bad_extensions"):
        ClientHello.decode(resized(FULL.encode()[4:] + b"\0"))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (Hello(session_id=bytes(33)), "bad_session_id"),
        (Hello(suites=[]), "bad_cipher_suites"),
        (Hello(compression=b""), "bad_compression_methods"),
    ],
)
def test_bad_fixed_fields(changed: Hello, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        ClientHello.decode(changed.encode())


def test_odd_cipher_suites() -> None:
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\3\x13\1\x13" + b"\1\0"
    with pytest.raises(DecodeError, match="bad_cipher_suites"):
        ClientHello.decode(resized(body))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(body: bytes) -> None:
    try:
        ClientHello.decode(resized(body))
    except DecodeError:
        return


@given(st.data())
def test_any_changed_byte_decodes_or_is_refused(data: st.DataObject) -> None:
    message = bytearray(FULL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(4, len(message) - 1))
        message[index] = data.draw(st.integers(0, 255))
    try:
        decoded = ClientHello.decode(bytes(message))
    except DecodeError:
        return
    assert decoded.message == message
