"""The key schedule of RFC 8446, Section 7, in stages: each type offers only what is legal there.

No PSK is offered here, so the early secret is a constant of the hash. Every secret that is
derived fits in one HMAC block, so HKDF-Expand is a single ``hmac.digest``.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["HandshakeStage", "MasterStage", "finished_mac", "next_traffic_secret", "traffic_keys"]

_IV_SIZE: Final = 12


@lru_cache(maxsize=64)
def _info(label: bytes, length: int, context_size: int) -> bytes:
    """``struct HkdfLabel`` (RFC 8446, Section 7.1) up to the context itself."""
    full = b"tls13 " + label
    return length.to_bytes(2) + len(full).to_bytes(1) + full + context_size.to_bytes(1)


def expand_label(hash_name: str, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """``HKDF-Expand-Label`` (RFC 8446, Section 7.1) of at most one hash block."""
    info = _info(label, length, len(context)) + context + b"\1"
    return hmac.digest(secret, info, hash_name)[:length]


def _extract(hash_name: str, salt: bytes, key: bytes) -> bytes:
    """``HKDF-Extract`` (RFC 5869, Section 2.2)."""
    return hmac.digest(salt, key, hash_name)


@lru_cache(maxsize=4)
def _empty_hash(hash_name: str) -> bytes:
    return hashlib.new(hash_name).digest()


@lru_cache(maxsize=4)
def _salt_after_early(hash_name: str) -> bytes:
    """``Derive-Secret(Early Secret, "derived", "")`` without a PSK."""
    zeros = bytes(hashlib.new(hash_name).digest_size)
    return _derived(hash_name, _extract(hash_name, zeros, zeros))


def _derived(hash_name: str, secret: bytes) -> bytes:
    empty = _empty_hash(hash_name)
    return expand_label(hash_name, secret, b"derived", empty, len(empty))


@dataclass(frozen=True, slots=True, repr=False)
class HandshakeStage:
    """The Handshake Secret: after the key exchange, before the master secret."""

    hash_name: str
    secret: bytes

    @classmethod
    def from_shared_secret(cls, hash_name: str, shared_secret: bytes) -> "HandshakeStage":
        return cls(hash_name, _extract(hash_name, _salt_after_early(hash_name), shared_secret))

    def client_traffic(self, hello_hash: bytes) -> bytes:
        """client_handshake_traffic_secret; transcript ClientHello...ServerHello."""
        return expand_label(
            self.hash_name, self.secret, b"c hs traffic", hello_hash, len(hello_hash)
        )

    def server_traffic(self, hello_hash: bytes) -> bytes:
        """server_handshake_traffic_secret; transcript ClientHello...ServerHello."""
        return expand_label(
            self.hash_name, self.secret, b"s hs traffic", hello_hash, len(hello_hash)
        )

    def master(self) -> "MasterStage":
        zeros = bytes(len(self.secret))
        return MasterStage(
            self.hash_name, _extract(self.hash_name, _derived(self.hash_name, self.secret), zeros)
        )


@dataclass(frozen=True, slots=True, repr=False)
class MasterStage:
    """The Master Secret: what is derived from it protects application data."""

    hash_name: str
    secret: bytes

    def client_traffic(self, flight_hash: bytes) -> bytes:
        """client_application_traffic_secret_0; transcript ClientHello...server Finished."""
        return expand_label(
            self.hash_name, self.secret, b"c ap traffic", flight_hash, len(flight_hash)
        )

    def server_traffic(self, flight_hash: bytes) -> bytes:
        """server_application_traffic_secret_0; transcript ClientHello...server Finished."""
        return expand_label(
            self.hash_name, self.secret, b"s ap traffic", flight_hash, len(flight_hash)
        )


def traffic_keys(hash_name: str, secret: bytes, key_size: int) -> tuple[bytes, bytes]:
    """``[sender]_write_key`` and ``[sender]_write_iv`` (RFC 8446, Section 7.3)."""
    return (
        expand_label(hash_name, secret, b"key", b"", key_size),
        expand_label(hash_name, secret, b"iv", b"", _IV_SIZE),
    )


def next_traffic_secret(hash_name: str, secret: bytes) -> bytes:
    """``application_traffic_secret_N+1`` (RFC 8446, Section 7.2)."""
    return expand_label(hash_name, secret, b"traffic upd", b"", len(secret))


def finished_mac(hash_name: str, base_key: bytes, transcript_hash: bytes) -> bytes:
    """``verify_data`` (RFC 8446, Section 4.4.4)."""
    key = expand_label(hash_name, base_key, b"finished", b"", len(base_key))
    return hmac.digest(key, transcript_hash, hash_name)
