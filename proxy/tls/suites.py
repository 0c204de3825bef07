"""What a cipher suite consists of (RFC 8446, Appendix B.4)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from proxy.tls.defaults import RECORDS_PER_KEY
from proxy.wire import CipherSuite

__all__ = ["PARAMETERS", "Aead", "Bytes", "SuiteParameters"]

Bytes = bytes | bytearray | memoryview


class Aead(Protocol):
    """What the record layer needs of ``AESGCM`` and ``ChaCha20Poly1305``."""

    def encrypt(self, nonce: bytes, data: Bytes, associated_data: bytes) -> bytes: ...
    def decrypt(self, nonce: bytes, data: Bytes, associated_data: bytes) -> bytes: ...
    def encrypt_into(
        self, nonce: bytes, data: Bytes, associated_data: bytes, buf: memoryview
    ) -> int: ...
    def decrypt_into(
        self, nonce: bytes, data: Bytes, associated_data: bytes, buf: memoryview
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class SuiteParameters:
    """Hash, AEAD and limits of one suite."""

    suite: CipherSuite
    hash_name: str
    new_hash: Callable[[bytes], "hashlib._Hash"]
    hash_size: int
    key_size: int
    aead: Callable[[bytes], Aead]
    records_per_key: int


PARAMETERS: Final[dict[int, SuiteParameters]] = {
    int(parameters.suite): parameters
    for parameters in (
        SuiteParameters(
            CipherSuite.TLS_AES_128_GCM_SHA256,
            "sha256",
            hashlib.sha256,
            32,
            16,
            AESGCM,
            RECORDS_PER_KEY,
        ),
        SuiteParameters(
            CipherSuite.TLS_AES_256_GCM_SHA384,
            "sha384",
            hashlib.sha384,
            48,
            32,
            AESGCM,
            RECORDS_PER_KEY,
        ),
        SuiteParameters(
            # RFC 8446, Section 5.5: for ChaCha20 the sequence number wraps before the safety
            # limit is reached; one limit for all is simpler and costs nothing.
            CipherSuite.TLS_CHACHA20_POLY1305_SHA256,
            "sha256",
            hashlib.sha256,
            32,
            32,
            ChaCha20Poly1305,
            RECORDS_PER_KEY,
        ),
    )
}
