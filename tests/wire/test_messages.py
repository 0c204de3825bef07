"""The messages that we send, read back field by field."""

import hashlib

import pytest

from proxy.wire import (
    HELLO_RETRY_REQUEST_RANDOM,
    CipherSuite,
    ExtensionType,
    HandshakeType,
    KeyUpdateRequest,
    NamedGroup,
    Reader,
    SignatureScheme,
    certificate,
    certificate_verify,
    encrypted_extensions,
    extension,
    finished,
    hello_retry_request,
    key_update,
    message_hash,
    server_hello,
)

RANDOM = bytes(range(32))


def body_of(message: bytes, kind: HandshakeType) -> Reader:
    reader = Reader(message)
    assert reader.u8() == kind
    body = Reader(reader.vector24())
    reader.finish()
    return body


def hello_extensions(message: bytes, random: bytes, session_id: bytes) -> dict[int, bytes]:
    body = body_of(message, HandshakeType.SERVER_HELLO)
    assert body.u16() == 0x0303
    assert body.opaque(32) == random
    assert body.vector8() == session_id
    assert body.u16() == CipherSuite.TLS_AES_256_GCM_SHA384
    assert body.u8() == 0
    block = Reader(body.vector16())
    body.finish()
    found = {}
    while block.remaining():
        number = block.u16()
        found[number] = block.vector16()
    return found


@pytest.mark.parametrize("session_id", [b"", bytes(32)])
@pytest.mark.parametrize("size", [32, 1120])
def test_server_hello(session_id: bytes, size: int) -> None:
    share = bytes(size)
    suite, group = CipherSuite.TLS_AES_256_GCM_SHA384, NamedGroup.X25519MLKEM768
    message = server_hello(RANDOM, session_id, suite, group, share)
    assert hello_extensions(message, RANDOM, session_id) == {
        ExtensionType.KEY_SHARE: b"\x11\xec" + size.to_bytes(2) + share,
        ExtensionType.SUPPORTED_VERSIONS: b"\3\4",
    }


@pytest.mark.parametrize("group", [None, NamedGroup.SECP384R1])
@pytest.mark.parametrize("cookie", [b"", b"cookie"])
def test_hello_retry_request(group: NamedGroup | None, cookie: bytes) -> None:
    message = hello_retry_request(b"id", CipherSuite.TLS_AES_256_GCM_SHA384, group, cookie)
    expected = {int(ExtensionType.SUPPORTED_VERSIONS): b"\3\4"}
    if group is not None:
        expected[ExtensionType.KEY_SHARE] = b"\0\x18"
    if cookie:
        expected[ExtensionType.COOKIE] = b"\0\6cookie"
    assert hello_extensions(message, HELLO_RETRY_REQUEST_RANDOM, b"id") == expected


def test_hello_retry_request_random_is_the_rfcs() -> None:
    assert hashlib.sha256(b"HelloRetryRequest").digest() == HELLO_RETRY_REQUEST_RANDOM


def test_certificate() -> None:
    body = body_of(certificate([b"leaf", b"issuer"]), HandshakeType.CERTIFICATE)
    assert body.vector8() == b"", "no request context"
    entries = Reader(body.vector24())
    body.finish()
    for der in (b"leaf", b"issuer"):
        assert entries.vector24() == der
        assert entries.vector16() == b"", "no extensions"
    entries.finish()


def test_certificate_verify() -> None:
    message = certificate_verify(SignatureScheme.ED25519, b"signature")
    body = body_of(message, HandshakeType.CERTIFICATE_VERIFY)
    assert (body.u16(), body.vector16()) == (SignatureScheme.ED25519, b"signature")
    body.finish()


def test_encrypted_extensions() -> None:
    empty = body_of(encrypted_extensions(), HandshakeType.ENCRYPTED_EXTENSIONS)
    assert empty.vector16() == b""
    one = extension(ExtensionType.SERVER_NAME, b"")
    filled = body_of(encrypted_extensions([one]), HandshakeType.ENCRYPTED_EXTENSIONS)
    assert filled.vector16() == b"\0\0\0\0"


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (finished(b"mac"), "14000003" + b"mac".hex()),
        (key_update(KeyUpdateRequest.UPDATE_NOT_REQUESTED), "1800000100"),
        (key_update(KeyUpdateRequest.UPDATE_REQUESTED), "1800000101"),
        (message_hash(bytes(2)), "fe0000020000"),
    ],
)
def test_short_messages(message: bytes, written: str) -> None:
    assert message.hex() == written
