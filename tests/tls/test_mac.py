"""HMAC over hashlib against the standard library's, for every size of key that is taken."""

import hashlib
import hmac

import pytest

from proxy.tls.mac import Hash, hmac_of, hmac_sha256, hmac_under
from tests.tls.material import pseudo_random

HASHES: list[tuple[str, Hash]] = [("sha256", hashlib.sha256), ("sha384", hashlib.sha384)]


@pytest.mark.parametrize(("name", "new"), HASHES)
@pytest.mark.parametrize("message_size", [0, 1, 55, 64, 200])
def test_every_key_up_to_a_block(name: str, new: Hash, message_size: int) -> None:
    message = pseudo_random("message", message_size)
    for size in range(new(b"").block_size + 1):
        key = pseudo_random("key", size)
        expected = hmac.digest(key, message, name)
        assert hmac_of(new)(key, message) == expected
        under = hmac_under(new, key)
        assert (under(message), under(b"another"), under(message)) == (
            expected,
            hmac.digest(key, b"another", name),
            expected,
        )


def test_sha256() -> None:
    assert hmac_sha256(b"key", b"message") == hmac.digest(b"key", b"message", "sha256")
