"""``finish``: the client's second flight turns a ``HalfOpen`` into an established connection.

Nothing but a whole, correct Finished promotes: compatibility CCS and 0-RTT data are skipped
within limits, an alert ends the attempt, everything else is refused. So a reply is bounded:
``CCS_LIMIT`` records, ``EARLY_DATA_LIMIT`` bytes and one record for each byte of Finished, of
which never more than one, incomplete, is held.
"""

import hmac
from typing import Final, NamedTuple

from proxy.tls.context import Established
from proxy.tls.defaults import CCS_LIMIT
from proxy.tls.errors import PeerAborted, PeerMisbehaved, Reason
from proxy.tls.half_open import HalfOpen
from proxy.tls.key_schedule import finished_mac
from proxy.tls.protection import Opener, Sealer
from proxy.tls.secret import Secret
from proxy.wire import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    AlertDescription,
    ContentType,
    HandshakeType,
    alert_message,
)

__all__ = ["NeedMore", "finish", "half_open_alert"]

_ALERT_SIZE: Final = 2
_CHANGE_CIPHER_SPEC: Final = ContentType.CHANGE_CIPHER_SPEC
_ALERT: Final = ContentType.ALERT
_HANDSHAKE: Final = ContentType.HANDSHAKE
_FINISHED: Final = HandshakeType.FINISHED
_LEGAL: Final = (_CHANGE_CIPHER_SPEC, _ALERT, ContentType.APPLICATION_DATA)


class NeedMore(NamedTuple):
    """The reply is not whole: keep ``half_open`` in the old one's place and the bytes behind
    ``consumed``."""

    half_open: bytes
    consumed: int

    def __repr__(self) -> str:
        return f"NeedMore(consumed={self.consumed})"


class _ExpectFinished:
    """Reads records until the client's Finished is whole."""

    __slots__ = ("_ccs", "_client_secret", "_kept", "_opener", "_partial", "_records", "_skip")

    def __init__(self, kept: HalfOpen) -> None:
        self._kept = kept
        self._records = kept.records
        self._ccs = kept.ccs
        self._skip = kept.skip
        self._partial = kept.partial
        self._client_secret = b""
        self._opener: Opener | None = None

    def half_open(self) -> HalfOpen:
        """What is to be kept while more is awaited."""
        return self._kept._replace(
            records=self._records, ccs=self._ccs, skip=self._skip, partial=self._partial
        )

    def handle(self, header: bytes, fragment: bytes) -> bool:
        """One record; true once Finished is whole."""
        content_type = header[0]
        if content_type == _CHANGE_CIPHER_SPEC:
            self._change_cipher_spec(fragment)
            return False
        if content_type == _ALERT:
            raise _aborted(fragment)
        return self._protected(header, fragment)

    def _change_cipher_spec(self, fragment: bytes) -> None:
        # RFC 8446, Section 5: a single byte 0x01, before the peer's Finished; bounded by us.
        if fragment != b"\1" or self._ccs >= CCS_LIMIT or self._partial:
            raise PeerMisbehaved(Reason.UNEXPECTED_CCS)
        self._ccs += 1

    def _protected(self, header: bytes, fragment: bytes) -> bool:
        opener = self._opener
        if opener is None:
            self._client_secret = self._kept.client_secret()
            opener = Opener(self._kept.parameters, self._client_secret, self._records)
            self._opener = opener
        try:
            content_type, plaintext = opener.open(header, fragment)
        except PeerMisbehaved as error:
            # RFC 8446, Section 4.2.10: skip 0-RTT records, which fail deprotection.
            # An empty one is none of them, and would be skipped for ever.
            if not self._skip or not fragment or error.reason != Reason.BAD_RECORD_MAC:
                raise
            if len(fragment) > self._skip:
                raise PeerMisbehaved(Reason.UNEXPECTED_EARLY_DATA) from None
            self._skip -= len(fragment)
            return False
        self._records = opener.sequence
        self._skip = 0
        if content_type == _ALERT:
            raise _aborted(plaintext)
        if content_type != _HANDSHAKE:
            raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)
        return self._handshake(plaintext)

    def _handshake(self, plaintext: bytes) -> bool:
        if not plaintext:
            # RFC 8446, Section 5.1: no zero-length fragments of Handshake.
            raise PeerMisbehaved(Reason.EMPTY_RECORD)
        partial = self._partial + plaintext
        if partial[0] != _FINISHED:
            raise PeerMisbehaved(Reason.UNEXPECTED_MESSAGE)
        size = self._kept.parameters.hash_size
        if len(partial) >= 4 and int.from_bytes(partial[1:4]) != size:
            raise PeerMisbehaved(Reason.BAD_FINISHED_SIZE)
        if len(partial) > 4 + size:
            # RFC 8446, Section 5.1: Finished precedes a key change, so the record ends with it.
            raise PeerMisbehaved(Reason.NOT_ALIGNED)
        self._partial = partial
        return len(partial) == 4 + size

    def established(self, unread: bytes) -> Established:
        """Check Finished (RFC 8446, Section 4.4.4) and derive the application secrets."""
        kept = self._kept
        flight_hash = kept.flight_hash
        expected = finished_mac(kept.parameters.hash_name, self._client_secret, flight_hash)
        if not hmac.compare_digest(expected, self._partial[4:]):
            raise PeerMisbehaved(Reason.BAD_FINISHED)
        master = kept.master()
        return Established(
            suite=kept.parameters.suite,
            group=kept.group,
            server_name=kept.server_name.decode() or None,
            alpn=kept.alpn.decode() or None,
            name_index=kept.name_index,
            read_secret=Secret(master.client_traffic(flight_hash)),
            read_sequence=0,
            write_secret=Secret(master.server_traffic(flight_hash)),
            write_sequence=0,
            unread=unread,
        )


def finish(half_open: bytes, data: bytes) -> NeedMore | Established:
    """Take the client's reply, ``data``: all bytes not consumed yet. Raises ``TlsError``."""
    waiting = _ExpectFinished(HalfOpen.unpack(half_open))
    position = 0
    end = len(data)
    while end - position >= HEADER_SIZE:
        body = position + HEADER_SIZE
        header = data[position:body]
        if header[0] not in _LEGAL:
            # RFC 8446, Section 5: after the ServerHello everything else is protected.
            raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)
        size = header[3] << 8 | header[4]
        if size > MAX_CIPHERTEXT:
            # RFC 8446, Section 5.2.
            raise PeerMisbehaved(Reason.RECORD_OVERFLOW)
        stop = body + size
        if stop > end:
            break
        whole = waiting.handle(header, data[body:stop])
        position = stop
        if whole:
            return waiting.established(data[position:])
    return NeedMore(waiting.half_open().pack() if position else half_open, position)


def half_open_alert(half_open: bytes, description: AlertDescription) -> bytes:
    """An alert to a client that has our flight: it is under the application keys already.

    RFC 8446, Section 2: the server may send application data behind its Finished.
    """
    state = HalfOpen.unpack(half_open)
    sealer = Sealer(state.parameters, state.master().server_traffic(state.flight_hash))
    return sealer.seal(_ALERT, alert_message(description))


def _aborted(fragment: bytes) -> PeerAborted | PeerMisbehaved:
    if not fragment:
        # RFC 8446, Section 5.1: no zero-length fragments of Alert.
        return PeerMisbehaved(Reason.EMPTY_RECORD)
    if len(fragment) != _ALERT_SIZE:
        return PeerMisbehaved(Reason.BAD_ALERT)
    return PeerAborted(fragment[1])
