"""The key schedule where RFC 8448 does not reach: SHA-384, and HKDF by an independent hand."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from proxy.tls.key_schedule import (
    HandshakeStage,
    expand_label,
    finished_mac,
    next_traffic_secret,
    traffic_keys,
)
from tests.tls.material import pseudo_random

HASHES: list[tuple[str, hashes.HashAlgorithm]] = [
    ("sha256", hashes.SHA256()),
    ("sha384", hashes.SHA384()),
]
NAMES = pytest.mark.parametrize(("name", "algorithm"), HASHES)


def independent(
    algorithm: hashes.HashAlgorithm, secret: bytes, label: bytes, context: bytes, length: int
) -> bytes:
    """HKDF-Expand-Label by the cryptography library."""
    full = b"tls13 " + label
    info = length.to_bytes(2) + bytes((len(full),)) + full + bytes((len(context),)) + context
    return HKDFExpand(algorithm, length, info).derive(secret)


@NAMES
@pytest.mark.parametrize("label", [b"key", b"iv", b"finished", b"c hs traffic"])
@pytest.mark.parametrize("length", [12, 16, 32])
@pytest.mark.parametrize("context_size", [0, 32])
def test_expand_label(
    name: str, algorithm: hashes.HashAlgorithm, label: bytes, length: int, context_size: int
) -> None:
    secret = pseudo_random("secret", algorithm.digest_size)
    context = pseudo_random("context", context_size)
    expected = independent(algorithm, secret, label, context, length)
    assert expand_label(name, secret, label, context, length) == expected


@NAMES
@pytest.mark.parametrize("shared_size", [32, 48, 64])
def test_whole_schedule(name: str, algorithm: hashes.HashAlgorithm, shared_size: int) -> None:
    size = algorithm.digest_size
    shared = pseudo_random("shared", shared_size)
    empty = hashlib.new(name).digest()

    def extract(salt: bytes, key: bytes) -> bytes:
        return hmac.new(salt, key, name).digest()

    early = extract(b"", bytes(size))
    handshake = extract(independent(algorithm, early, b"derived", empty, size), shared)
    master = extract(independent(algorithm, handshake, b"derived", empty, size), bytes(size))
    stage = HandshakeStage.from_shared_secret(name, shared)
    assert (stage.secret, stage.master().secret) == (handshake, master)
    digest = pseudo_random("transcript", size)
    for found, secret, label in (
        (stage.client_traffic(digest), handshake, b"c hs traffic"),
        (stage.server_traffic(digest), handshake, b"s hs traffic"),
        (stage.master().client_traffic(digest), master, b"c ap traffic"),
        (stage.master().server_traffic(digest), master, b"s ap traffic"),
    ):
        assert found == independent(algorithm, secret, label, digest, size)


@NAMES
def test_what_is_derived_from_a_traffic_secret(name: str, algorithm: hashes.HashAlgorithm) -> None:
    size = algorithm.digest_size
    secret = pseudo_random("traffic", size)
    assert traffic_keys(name, secret, 32) == (
        independent(algorithm, secret, b"key", b"", 32),
        independent(algorithm, secret, b"iv", b"", 12),
    )
    updated = independent(algorithm, secret, b"traffic upd", b"", size)
    assert next_traffic_secret(name, secret) == updated
    key = independent(algorithm, secret, b"finished", b"", size)
    digest = pseudo_random("transcript", size)
    assert finished_mac(name, secret, digest) == hmac.new(key, digest, name).digest()
