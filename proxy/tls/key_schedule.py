"""The key schedule of RFC 8446, Section 7, in stages: each type offers only what is legal there.

No PSK is offered here, so the early secret is a constant of the hash. Every secret that is
derived fits in one HMAC block, so HKDF-Expand is a single HMAC.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from proxy.tls.mac import Hash, hmac_of, hmac_under

__all__ = [
    "HandshakeStage",
    "MasterStage",
    "expand_label",
    "finished_mac",
    "next_traffic_secret",
    "traffic_keys",
]

_IV_SIZE: Final = 12


def _label(label: bytes, length: int, context_size: int) -> bytes:
    """``struct HkdfLabel`` (RFC 8446, Section 7.1) up to the context itself."""
    full = b"tls13 " + label
    return length.to_bytes(2) + len(full).to_bytes(1) + full + context_size.to_bytes(1)


class _Hash:
    """A hash and what the schedule makes of it alone, prepared once.

    ``*_traffic`` are labels whose context is a transcript hash; the others have no context and
    are whole: HKDF-Expand's counter stands behind them (RFC 5869, Section 2.3).
    """

    def __init__(self, new: Hash) -> None:
        empty = new(b"").digest()
        size = len(empty)
        hmac = hmac_of(new)
        self.hmac: Final = hmac
        self.zeros: Final = bytes(size)
        self.derived: Final = _label(b"derived", size, size) + empty + b"\1"
        # HKDF-Extract (RFC 5869, Section 2.2) under Derive-Secret(Early Secret, "derived", ""),
        # which is always the same without a PSK.
        early = hmac(self.zeros, self.zeros)
        self.extract_handshake: Final = hmac_under(new, hmac(early, self.derived))
        self.client_handshake_traffic: Final = _label(b"c hs traffic", size, size)
        self.server_handshake_traffic: Final = _label(b"s hs traffic", size, size)
        self.client_application_traffic: Final = _label(b"c ap traffic", size, size)
        self.server_application_traffic: Final = _label(b"s ap traffic", size, size)
        self.finished: Final = _label(b"finished", size, 0) + b"\1"


_HASHES: Final = {"sha256": _Hash(hashlib.sha256), "sha384": _Hash(hashlib.sha384)}
_KEY: Final = {size: _label(b"key", size, 0) + b"\1" for size in (16, 32)}
_IV: Final = _label(b"iv", _IV_SIZE, 0) + b"\1"


def expand_label(hash_name: str, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """``HKDF-Expand-Label`` (RFC 8446, Section 7.1) of at most one hash block."""
    info = _label(label, length, len(context)) + context + b"\1"
    return _HASHES[hash_name].hmac(secret, info)[:length]


@dataclass(frozen=True, slots=True, repr=False)
class HandshakeStage:
    """The Handshake Secret: after the key exchange, before the master secret."""

    hash_name: str
    secret: bytes

    @classmethod
    def from_shared_secret(cls, hash_name: str, shared_secret: bytes) -> "HandshakeStage":
        """Of what the key exchange gave."""
        return cls(hash_name, _HASHES[hash_name].extract_handshake(shared_secret))

    def client_traffic(self, hello_hash: bytes) -> bytes:
        """client_handshake_traffic_secret; transcript ClientHello...ServerHello."""
        of = _HASHES[self.hash_name]
        return of.hmac(self.secret, of.client_handshake_traffic + hello_hash + b"\1")

    def server_traffic(self, hello_hash: bytes) -> bytes:
        """server_handshake_traffic_secret; transcript ClientHello...ServerHello."""
        of = _HASHES[self.hash_name]
        return of.hmac(self.secret, of.server_handshake_traffic + hello_hash + b"\1")

    def master(self) -> "MasterStage":
        """The next stage."""
        of = _HASHES[self.hash_name]
        salt = of.hmac(self.secret, of.derived)
        return MasterStage(self.hash_name, of.hmac(salt, of.zeros))


@dataclass(frozen=True, slots=True, repr=False)
class MasterStage:
    """The Master Secret: what is derived from it protects application data."""

    hash_name: str
    secret: bytes

    def client_traffic(self, flight_hash: bytes) -> bytes:
        """client_application_traffic_secret_0; transcript ClientHello...server Finished."""
        of = _HASHES[self.hash_name]
        return of.hmac(self.secret, of.client_application_traffic + flight_hash + b"\1")

    def server_traffic(self, flight_hash: bytes) -> bytes:
        """server_application_traffic_secret_0; transcript ClientHello...server Finished."""
        of = _HASHES[self.hash_name]
        return of.hmac(self.secret, of.server_application_traffic + flight_hash + b"\1")


def traffic_keys(hash_name: str, secret: bytes, key_size: int) -> tuple[bytes, bytes]:
    """``[sender]_write_key`` and ``[sender]_write_iv`` (RFC 8446, Section 7.3)."""
    hmac = _HASHES[hash_name].hmac
    return hmac(secret, _KEY[key_size])[:key_size], hmac(secret, _IV)[:_IV_SIZE]


def next_traffic_secret(hash_name: str, secret: bytes) -> bytes:
    """``application_traffic_secret_N+1`` (RFC 8446, Section 7.2)."""
    return expand_label(hash_name, secret, b"traffic upd", b"", len(secret))


def finished_mac(hash_name: str, base_key: bytes, transcript_hash: bytes) -> bytes:
    """``verify_data`` (RFC 8446, Section 4.4.4)."""
    of = _HASHES[hash_name]
    return of.hmac(of.hmac(base_key, of.finished), transcript_hash)
