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
from proxy.tls.mac import hmac_sha256
from proxy.tls.negotiate import check_hello, share_for
from proxy.tls.secret import Secret
from proxy.tls.suites import PARAMETERS, SuiteParameters
from proxy.wire import (
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
_MAC_SIZE: Final = 32
_IMMUTABLE_SIZE: Final = 16
_KEY_SHARE: Final = int(ExtensionType.KEY_SHARE)
_HANDSHAKE: Final = ContentType.HANDSHAKE
_CCS: Final = change_cipher_spec_record()


_GROUPS: Final = {int(group): group for group in NamedGroup}


class _Cookie(NamedTuple):
    parameters: SuiteParameters
    group: NamedGroup
    share_asked: bool
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
    asked = share_for(hello, group) is None
    body = (
        _HEADER.pack(_FORMAT, int(now * 1000), suite.suite, group, asked)
        + _immutable_hash(hello, asked)
        + suite.new_hash(hello.message).digest()
    )
    cookie = body + _mac(cookie_key, body, connection)
    message = hello_retry_request(hello.session_id, suite.suite, group if asked else None, cookie)
    compatible = _CCS if hello.session_id else b""
    return plaintext_records(_HANDSHAKE, message) + compatible


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
    parameters, group, share_asked, immutable, first_hash = _open(
        cookie, cookie_keys, connection, now
    )
    if hello.early_data or not hmac.compare_digest(_immutable_hash(hello, share_asked), immutable):
        # RFC 8446, Sections 4.1.2 and 4.2.10.
        raise PeerMisbehaved(Reason.HELLO_CHANGED)
    shares = hello.key_shares or ()
    if share_asked and (len(shares) != 1 or shares[0].group != group):
        # RFC 8446, Section 4.2.8: exactly one share, for the group that was asked for.
        raise PeerMisbehaved(Reason.BAD_KEY_SHARE)
    suite = parameters.suite
    if share_for(hello, group) is None or suite not in hello.cipher_suites:
        raise PeerMisbehaved(Reason.HELLO_CHANGED)
    return Retried(
        suite=suite,
        group=group,
        first_hash=first_hash,
        retry_request=hello_retry_request(
            hello.session_id, suite, group if share_asked else None, cookie
        ),
        hello=hello.message,
        unread=unread,
    )


def _open(cookie: bytes, cookie_keys: Sequence[Secret], connection: bytes, now: float) -> _Cookie:
    body, mac = cookie[:-_MAC_SIZE], cookie[-_MAC_SIZE:]
    for key in cookie_keys:
        if hmac.compare_digest(_mac(key, body, connection), mac):
            break
    else:
        raise PeerMisbehaved(Reason.BAD_COOKIE)
    # The MAC is ours, and so is the format behind it.
    _, issued_ms, suite, group, asked = _HEADER.unpack_from(body)
    if int(now * 1000) - issued_ms > COOKIE_LIFETIME_S * 1000:
        raise PeerMisbehaved(Reason.BAD_COOKIE)
    parameters = PARAMETERS[suite]
    split = _HEADER.size + _IMMUTABLE_SIZE
    return _Cookie(
        parameters,
        _GROUPS[group],
        bool(asked),
        body[_HEADER.size : split],
        body[split : split + parameters.hash_size],
    )


def _mac(key: Secret, body: bytes, connection: bytes) -> bytes:
    return hmac_sha256(key.reveal(), len(connection).to_bytes(1) + connection + body)


def _immutable_hash(hello: ClientHello, share_asked: bool) -> bytes:
    """A digest of all that a second hello must repeat (RFC 8446, Section 4.1.2).

    Of what it may change, padding may come, go or change size (RFC 7685), pre_shared_key is
    recomputed, early_data removed and cookie added; key shares change only where we asked.
    """
    message = hello.message
    position = hello.extensions_start
    repeated = [message[4 : position - 2]]
    for number, start, end in hello.changeable:
        if share_asked or number != _KEY_SHARE:
            repeated.append(message[position:start])
            position = end
    repeated.append(message[position:])
    return hashlib.sha256(b"".join(repeated)).digest()[:_IMMUTABLE_SIZE]
