"""HMAC (RFC 2104) over hashlib's hashes, for keys of at most one block.

``hmac.digest`` looks its hash up by name at each call, which is a third of what it costs here.
"""

import hashlib
from collections.abc import Callable
from typing import Final

__all__ = ["Hash", "hmac_of", "hmac_sha256", "hmac_under"]

Hash = Callable[[bytes], "hashlib._Hash"]
"""One of hashlib's constructors."""

# As tables, which is how the standard library's hmac module does it.
_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))


def hmac_of(new: Hash) -> Callable[[bytes, bytes], bytes]:
    """HMAC with this hash: of a key and a message."""
    block_size = new(b"").block_size

    def hmac(key: bytes, message: bytes) -> bytes:
        padded = key.ljust(block_size, b"\0")
        inner = new(padded.translate(_INNER_PAD) + message).digest()
        return new(padded.translate(_OUTER_PAD) + inner).digest()

    return hmac


def hmac_under(new: Hash, key: bytes) -> Callable[[bytes], bytes]:
    """HMAC with this hash under a key that never changes, which is hashed once."""
    padded = key.ljust(new(b"").block_size, b"\0")
    inner_key, outer_key = new(padded.translate(_INNER_PAD)), new(padded.translate(_OUTER_PAD))

    def hmac(message: bytes) -> bytes:
        inner, outer = inner_key.copy(), outer_key.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    return hmac


hmac_sha256: Final = hmac_of(hashlib.sha256)
