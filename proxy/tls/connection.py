"""``Connection``: an established TLS 1.3 connection, sans-IO.

Bytes in, events out; plaintext in, records out. It is made from an ``Established`` context and
exported into one; exporting takes away the right to read and write, because two writers under
one key would repeat a nonce.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from proxy.tls.context import Established
from proxy.tls.defaults import (
    DATA_PER_KEY_UPDATE,
    EMPTY_RECORDS_IN_A_ROW,
    HANDSHAKE_MESSAGE_LIMIT,
    KEY_UPDATES_WITHOUT_DATA,
)
from proxy.tls.errors import Misuse, PeerAborted, PeerMisbehaved, Reason, TlsError
from proxy.tls.events import ApplicationData, CloseNotify, Event
from proxy.tls.protection import Opener, Sealer, sealed_size
from proxy.tls.secret import Secret
from proxy.tls.suites import PARAMETERS
from proxy.wire import (
    HEADER_SIZE,
    MAX_CIPHERTEXT,
    MAX_PLAINTEXT,
    AlertDescription,
    ContentType,
    DecodeError,
    HandshakeType,
    KeyUpdateRequest,
    alert_message,
    key_update,
)

__all__ = ["Connection", "sent_size"]

_Take: TypeAlias = Callable[[bytes, memoryview], None]
"""Takes a whole record: header and ciphertext."""

_LARGEST_RECORD: Final = HEADER_SIZE + MAX_CIPHERTEXT
_GONE: Final = Secret(b"")
# Bound here because to look up an enum's member costs more than to compare with it.
_APPLICATION_DATA: Final = ContentType.APPLICATION_DATA
_HANDSHAKE: Final = ContentType.HANDSHAKE
_ALERT: Final = ContentType.ALERT
# Of five bytes: RFC 8446, Section 4.6.3.
_KEY_UPDATE_RECORD: Final = sealed_size(5)


def sent_size(size: int) -> int:
    """The most that ``send`` makes of so many bytes."""
    return _KEY_UPDATE_RECORD + sealed_size(size)


class Connection:
    """One live connection; drive it from one task at a time."""

    __slots__ = (
        "_closed_by_peer",
        "_closed_by_us",
        "_empty_records",
        "_exported",
        "_facts",
        "_message",
        "_opener",
        "_raw",
        "_sealer",
        "_update_debt",
        "_update_owed",
    )
    # Read by mypyc: `export` deletes the keys.
    __deletable__ = ("_opener", "_sealer")

    def __init__(self, context: Established) -> None:
        parameters = PARAMETERS[context.suite]
        # The context itself is not kept: its secrets must not outlive a KeyUpdate or an export.
        self._facts = (
            context.suite,
            context.group,
            context.server_name,
            context.alpn,
            context.name_index,
        )
        self._opener = Opener(parameters, context.read_secret.reveal(), context.read_sequence)
        self._sealer = Sealer(parameters, context.write_secret.reveal(), context.write_sequence)
        self._update_owed = context.update_owed
        self._raw = context.unread
        self._message = context.partial
        self._update_debt = 0
        self._empty_records = 0
        self._closed_by_peer = context.read_closed
        self._closed_by_us = context.write_closed
        self._exported = False

    @property
    def context(self) -> Established:
        """The handshake's facts; its secrets are empty, ``export`` gives the real ones."""
        suite, group, server_name, alpn, name_index = self._facts
        return Established(
            suite=suite,
            group=group,
            server_name=server_name,
            alpn=alpn,
            name_index=name_index,
            read_secret=_GONE,
            read_sequence=0,
            write_secret=_GONE,
            write_sequence=0,
        )

    # --- reading -------------------------------------------------------------------------

    @property
    def closed_by_peer(self) -> bool:
        """close_notify came, or what must end reading (RFC 8446, Section 6)."""
        return self._closed_by_peer

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """Open what is whole in ``data``. Raises ``TlsError``; the connection is then over."""
        events: list[Event] = []

        def take(header: bytes, ciphertext: memoryview) -> None:
            content_type, plaintext = self._opener.open(header, ciphertext)
            if content_type == _APPLICATION_DATA and plaintext and not self._message:
                self._empty_records = 0
                if self._update_debt:
                    self._update_debt = max(0, self._update_debt - len(plaintext))
                events.append(ApplicationData(plaintext))
            else:
                self._other(content_type, plaintext)
                if self._closed_by_peer:
                    events.append(CloseNotify())

        self._receive(data, take)
        return events

    def receive_into(self, data: memoryview, target: memoryview) -> int:
        """The bulk path: plaintext goes to the beginning of ``target``; how much it is.

        ``target`` has room for ``data`` and one record more. ``closed_by_peer`` says whether
        close_notify came. Raises as ``receive``.
        """
        filled = 0

        def take(header: bytes, ciphertext: memoryview) -> None:
            nonlocal filled
            room = target[filled:]
            content_type, size = self._opener.open_into(header, ciphertext, room)
            if content_type == _APPLICATION_DATA and size and not self._message:
                self._empty_records = 0
                if self._update_debt:
                    self._update_debt = max(0, self._update_debt - size)
                filled += size
            else:
                self._other(content_type, bytes(room[:size]))

        self._receive(data, take)
        return filled

    def receive_eof(self) -> None:
        """The transport ended: a truncation unless close_notify came (RFC 8446, 6.1)."""
        if not self._closed_by_peer:
            raise PeerAborted(AlertDescription.CLOSE_NOTIFY)

    def _receive(self, data: bytes | bytearray | memoryview, take: _Take) -> None:
        self._check_owner()
        try:
            with memoryview(data) as view:
                position = self._straddling(view, take) if self._raw else 0
                position = self._records(view, position, take)
                # RFC 8446, Section 6.1: any data behind a closure alert is ignored.
                if position != len(view) and not self._closed_by_peer:
                    self._raw = bytes(view[position:])
        except TlsError:
            # RFC 8446, Section 6.2: nothing is processed after a fatal error.
            self._closed_by_peer = True
            raise

    def _straddling(self, view: memoryview, take: _Take) -> int:
        """Open what an earlier call left, with the record that ends in ``view``.

        How much of ``view`` that took. No more of it than a record's size is copied.
        """
        left, self._raw = self._raw, b""
        with memoryview(left + view[:_LARGEST_RECORD].tobytes()) as joined:
            position = self._records(joined, 0, take)
            if position < len(left) and not self._closed_by_peer:
                self._raw = bytes(joined[position:])
                return len(view)
        return max(0, position - len(left))

    def _records(self, view: memoryview, position: int, take: _Take) -> int:
        """Open all that are whole from ``position`` on; where the rest begins."""
        end = len(view)
        while end - position >= HEADER_SIZE and not self._closed_by_peer:
            body = position + HEADER_SIZE
            header = view[position:body].tobytes()
            size = header[3] << 8 | header[4]
            if size > MAX_CIPHERTEXT:
                # RFC 8446, Section 5.2.
                raise PeerMisbehaved(Reason.RECORD_OVERFLOW)
            if header[0] != _APPLICATION_DATA:
                # RFC 8446, Section 5: no unprotected record after the handshake, CCS neither.
                raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)
            stop = body + size
            if stop > end:
                break
            take(header, view[body:stop])
            position = stop
        return position

    def _other(self, content_type: int, plaintext: bytes) -> None:
        """A record that brings no plaintext."""
        if content_type == _APPLICATION_DATA:
            if self._message:
                # RFC 8446, Section 5.1: no other record inside a handshake message.
                raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)
            self._count_empty()
        elif content_type == _HANDSHAKE:
            self._handshake(plaintext)
        elif content_type == _ALERT:
            self._alert(plaintext)
        else:
            raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)

    def _count_empty(self) -> None:
        # RFC 8446, Section 5.1 allows empty application data; a flood of it is none.
        self._empty_records += 1
        if self._empty_records > EMPTY_RECORDS_IN_A_ROW:
            raise PeerMisbehaved(Reason.TOO_MANY_EMPTY_RECORDS)

    def _alert(self, plaintext: bytes) -> None:
        if not plaintext:
            raise PeerMisbehaved(Reason.EMPTY_RECORD)
        if len(plaintext) != 2 or self._message:
            raise PeerMisbehaved(Reason.BAD_ALERT)
        description = plaintext[1]
        if description == AlertDescription.CLOSE_NOTIFY:
            self._closed_by_peer = True
        elif description == AlertDescription.USER_CANCELED:
            # RFC 8446, Section 6.1: a notice; close_notify follows. Counted against floods.
            self._count_empty()
        else:
            raise PeerAborted(description)

    def _handshake(self, plaintext: bytes) -> None:
        """KeyUpdate is the only message a client may send now (RFC 8446, Section 4.6)."""
        if not plaintext:
            raise PeerMisbehaved(Reason.EMPTY_RECORD)
        message = self._message + plaintext
        if message[0] != HandshakeType.KEY_UPDATE:
            raise PeerMisbehaved(Reason.UNEXPECTED_MESSAGE)
        if len(message) >= 4 and message[1:4] != b"\0\0\1":
            raise DecodeError("bad_key_update_size")
        if len(message) > HANDSHAKE_MESSAGE_LIMIT:
            # RFC 8446, Section 5.1: KeyUpdate precedes a key change: the record ends with it.
            raise PeerMisbehaved(Reason.NOT_ALIGNED)
        if len(message) < HANDSHAKE_MESSAGE_LIMIT:
            self._message = message
            return
        self._message = b""
        self._key_update(message[4])

    def _key_update(self, request: int) -> None:
        if request not in (
            KeyUpdateRequest.UPDATE_NOT_REQUESTED,
            KeyUpdateRequest.UPDATE_REQUESTED,
        ):
            # RFC 8446, Section 4.6.3: any other value is illegal_parameter.
            raise PeerMisbehaved(Reason.BAD_KEY_UPDATE)
        self._update_debt += DATA_PER_KEY_UPDATE
        if self._update_debt > KEY_UPDATES_WITHOUT_DATA * DATA_PER_KEY_UPDATE:
            raise PeerMisbehaved(Reason.TOO_MANY_KEY_UPDATES)
        self._opener.update()
        if request == KeyUpdateRequest.UPDATE_REQUESTED:
            self._update_owed = True

    # --- writing -------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        """What reading made us owe: the answer to a KeyUpdate (RFC 8446, Section 4.6.3).

        Several requests before an answer are answered once, as the RFC allows.
        """
        self._check_owner()
        return b"" if self._closed_by_us else self._owed()

    def _owed(self) -> bytes:
        sealer = self._sealer
        if not (self._update_owed or sealer.due_for_update):
            return b""
        self._update_owed = False
        record = sealer.seal(_HANDSHAKE, key_update(KeyUpdateRequest.UPDATE_NOT_REQUESTED))
        sealer.update()
        return record

    def send(self, plaintext: bytes | bytearray | memoryview) -> bytes | bytearray:
        """Records that carry ``plaintext``, behind a KeyUpdate where one is due."""
        size = len(plaintext)
        if size <= MAX_PLAINTEXT:
            self._check_writable()
            return self._owed() + self._sealer.seal(_APPLICATION_DATA, bytes(plaintext))
        out = bytearray(sent_size(size))
        with memoryview(plaintext) as view, memoryview(out) as target:
            used = self.send_into(view, target)
        del out[used:]
        return out

    def send_into(self, plaintext: memoryview, target: memoryview) -> int:
        """The bulk path: ``send`` to the beginning of ``target``; how many bytes it is.

        ``target`` has room for ``sent_size`` of the plaintext's.
        """
        self._check_writable()
        owed = self._owed()
        target[: len(owed)] = owed
        return len(owed) + self._sealer.seal_into(plaintext, target[len(owed) :])

    def close(self) -> bytes:
        """Our close_notify (RFC 8446, Section 6.1); reading goes on."""
        self._check_owner()
        if self._closed_by_us:
            return b""
        owed = self._owed()
        self._closed_by_us = True
        return owed + self._seal_alert(AlertDescription.CLOSE_NOTIFY)

    def alert(self, error: TlsError) -> bytes:
        """The record that tells the peer why; nothing where nothing is owed."""
        self._check_owner()
        if error.alert is None or self._closed_by_us:
            return b""
        self._closed_by_us = True
        return self._seal_alert(error.alert)

    def _seal_alert(self, description: AlertDescription) -> bytes:
        return self._sealer.seal(_ALERT, alert_message(description))

    # --- moving --------------------------------------------------------------------------

    def export(self) -> Established:
        """The connection as a value; this object holds no key and can do nothing any more."""
        self._check_owner()
        self._exported = True
        opener, sealer = self._opener, self._sealer
        del self._opener, self._sealer
        return replace(
            self.context,
            read_secret=Secret(opener.secret),
            read_sequence=opener.sequence,
            write_secret=Secret(sealer.secret),
            write_sequence=sealer.sequence,
            update_owed=self._update_owed,
            read_closed=self._closed_by_peer,
            write_closed=self._closed_by_us,
            partial=self._message,
            unread=self._raw,
        )

    def _check_owner(self) -> None:
        if self._exported:
            raise Misuse("the connection was exported")

    def _check_writable(self) -> None:
        if self._exported:
            raise Misuse("the connection was exported")
        if self._closed_by_us:
            raise Misuse("the connection was closed for writing")
