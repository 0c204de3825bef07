"""``retry`` and ``redeem``: a HelloRetryRequest whose state the client carries as a cookie.

RFC 8446, Sections 4.1.2, 4.1.4 and 4.2.2. The cookie holds what the second flight needs, MACed
together with the connection's identity, so nothing is kept here. A cookie over TCP proves no
address (TCP did); it buys zero state and no signature.
"""

import hashlib
import hmac
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

from proxy.tls.context import Retried
from proxy.tls.defaults import COOKIE_LIFETIME_S
from proxy.tls.errors import PeerMisbehaved, Reason
from proxy.tls.negotiate import check_hello
from proxy.tls.secret import Secret
from proxy.tls.suites import PARAMETERS, SuiteParameters
from proxy.wire import (
    CipherSuite,
    ClientHello,
    ContentType,
    ExtensionType,
    NamedGroup,
    change_cipher_spec_record,
    hello_retry_request,
    plaintext_records,
)

__all__ = ["redeem", "retry"]

_FORMAT: Final = 1
# format, milliseconds of our monotonic clock, suite, group, whether its share was asked for
_HEADER: Final = Struct(">BQHHB")
_EXTENSION: Final = Struct(">HH")
_MAC_SIZE: Final = 32
_IMMUTABLE_SIZE: Final = 16
# RFC 8446, Section 4.1.2: what a second hello may change. Padding may come, go or change size
# (RFC 7685); pre_shared_key is recomputed; early_data is removed; cookie is added. Key shares
# change only where the retry asked for one.
_MUTABLE: Final = frozenset(
    map(
        int,
        (
            ExtensionType.COOKIE,
            ExtensionType.EARLY_DATA,
            ExtensionType.PRE_SHARED_KEY,
            ExtensionType.PADDING,
        ),
    )
)
_MUTABLE_WITH_SHARES: Final = _MUTABLE | {int(ExtensionType.KEY_SHARE)}


class _Cookie(NamedTuple):
    suite: CipherSuite
    group: NamedGroup
    share_asked: bool
    issued_ms: int
    immutable: bytes
    first_hash: bytes


def retry(
    hello: ClientHello,
    suite: SuiteParameters,
    group: NamedGroup,
    cookie_key: Secret,
    connection: bytes,
    now: float,
) -> bytes:
    """The HelloRetryRequest records for a first hello.

    ``connection`` is the connection's identity (5-tuple and listener), ``now`` is monotonic
    seconds of this process. Nothing is kept.
    """
    asked = all(share.group != group for share in hello.key_shares or ())
    body = (
        _HEADER.pack(_FORMAT, int(now * 1000), suite.suite, group, asked)
        + _immutable_hash(hello, asked)
        + hashlib.new(suite.hash_name, hello.message).digest()
    )
    cookie = body + _mac(cookie_key, body, connection)
    message = hello_retry_request(hello.session_id, suite.suite, group if asked else None, cookie)
    compatible = change_cipher_spec_record() if hello.session_id else b""
    return plaintext_records(ContentType.HANDSHAKE, message) + compatible


def redeem(
    hello: ClientHello,
    unread: bytes,
    cookie_keys: Sequence[Secret],
    connection: bytes,
    now: float,
) -> Retried:
    """Check a second hello against its cookie; ``cookie_keys``: the current key, then older ones.

    Raises ``PeerMisbehaved`` where the cookie is missing, forged, stale or from another
    connection, and where the hello changed what it must not.
    """
    check_hello(hello)
    cookie = hello.cookie
    if cookie is None:
        # RFC 8446, Section 4.1.4: the client MUST echo the cookie.
        raise PeerMisbehaved(Reason.MISSING_EXTENSION)
    content = _open(cookie, cookie_keys, connection, now)
    immutable = _immutable_hash(hello, content.share_asked)
    if hello.early_data or not hmac.compare_digest(immutable, content.immutable):
        # RFC 8446, Sections 4.1.2 and 4.2.10.
        raise PeerMisbehaved(Reason.HELLO_CHANGED)
    shares = [share.group for share in hello.key_shares or ()]
    if content.share_asked and shares != [content.group]:
        # RFC 8446, Section 4.2.8: exactly one share, for the group that was asked for.
        raise PeerMisbehaved(Reason.BAD_KEY_SHARE)
    if content.group not in shares or content.suite not in hello.cipher_suites:
        raise PeerMisbehaved(Reason.HELLO_CHANGED)
    return Retried(
        suite=content.suite,
        group=content.group,
        first_hash=content.first_hash,
        retry_request=hello_retry_request(
            hello.session_id,
            content.suite,
            content.group if content.share_asked else None,
            cookie,
        ),
        hello=hello.message,
        unread=unread,
    )


def _open(cookie: bytes, cookie_keys: Sequence[Secret], connection: bytes, now: float) -> _Cookie:
    body, mac = cookie[:-_MAC_SIZE], cookie[-_MAC_SIZE:]
    if not any(hmac.compare_digest(_mac(key, body, connection), mac) for key in cookie_keys):
        raise PeerMisbehaved(Reason.BAD_COOKIE)
    # The MAC is ours, and so is the format behind it.
    _, issued_ms, suite, group, asked = _HEADER.unpack_from(body)
    if int(now * 1000) - issued_ms > COOKIE_LIFETIME_S * 1000:
        raise PeerMisbehaved(Reason.BAD_COOKIE)
    split = _HEADER.size + _IMMUTABLE_SIZE
    return _Cookie(
        CipherSuite(suite),
        NamedGroup(group),
        bool(asked),
        issued_ms,
        body[_HEADER.size : split],
        body[split : split + PARAMETERS[CipherSuite(suite)].hash_size],
    )


def _mac(key: Secret, body: bytes, connection: bytes) -> bytes:
    message = len(connection).to_bytes(1) + connection + body
    return hmac.digest(key.reveal(), message, "sha256")


def _immutable_hash(hello: ClientHello, share_asked: bool) -> bytes:
    """A digest of all that a second hello must repeat (RFC 8446, Section 4.1.2)."""
    mutable = _MUTABLE_WITH_SHARES if share_asked else _MUTABLE
    message = hello.message
    # The hello was decoded: its extensions' sizes lead to its end.
    position = 42 + len(hello.session_id) + 2 * len(hello.cipher_suites)
    position += len(hello.compression_methods)
    digest = hashlib.sha256(message[4:position])
    position += 2
    while position < len(message):
        number, size = _EXTENSION.unpack_from(message, position)
        end = position + _EXTENSION.size + size
        if number not in mutable:
            digest.update(message[position:end])
        position = end
    return digest.digest()[:_IMMUTABLE_SIZE]
