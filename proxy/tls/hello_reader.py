"""The first message of a connection: bytes in, one whole ClientHello out.

A hello may arrive in any number of TCP segments and TLS records (RFC 8446, Section 5.1). Until it
is whole nothing is decoded and nothing is answered. The common case, one record in one read,
makes no reader.
"""

from typing import Final, NamedTuple

from proxy.tls.defaults import CCS_LIMIT, HELLO_LIMIT
from proxy.tls.errors import PeerAborted, PeerMisbehaved, Reason
from proxy.wire import HEADER_SIZE, MAX_CIPHERTEXT, MAX_PLAINTEXT, ContentType, HandshakeType

__all__ = ["HelloReader", "WholeHello", "read_hello"]

_HANDSHAKE: Final = int(ContentType.HANDSHAKE)
_CLIENT_HELLO: Final = int(HandshakeType.CLIENT_HELLO)


class WholeHello(NamedTuple):
    """A whole ClientHello message with its header, and the bytes that came behind its record."""

    message: bytes
    unread: bytes


def read_hello(data: bytes, limit: int = HELLO_LIMIT) -> "WholeHello | HelloReader":
    """The hello where ``data`` is just that, else a reader that waits for the rest."""
    end = len(data)
    if (
        end > 9
        and data[0] == _HANDSHAKE
        and data[5] == _CLIENT_HELLO
        and (size := data[3] << 8 | data[4]) == end - HEADER_SIZE
        and size == 4 + (data[6] << 16 | data[7] << 8 | data[8])
        and size <= MAX_PLAINTEXT
        and size <= limit
    ):
        return WholeHello(data[HEADER_SIZE:], b"")
    reader = HelloReader(limit)
    return reader.receive(data) or reader


class HelloReader:
    """Collects records until they hold one ClientHello, at most ``limit`` bytes of it.

    ``second`` readers wait for the hello after a HelloRetryRequest: a compatibility CCS may come
    first, and so may 0-RTT data that the client sent before it knew (``skip`` bytes of it).
    """

    __slots__ = ("_ccs_allowed", "_limit", "_message", "_raw", "_size", "_skip")

    def __init__(self, limit: int = HELLO_LIMIT, *, second: bool = False, skip: int = 0) -> None:
        self._limit = limit
        self._raw = bytearray()
        self._message = bytearray()
        self._size = 0  # the whole message's, once its header is there
        self._ccs_allowed = CCS_LIMIT if second else 0
        self._skip = skip

    @property
    def buffered(self) -> int:
        """Bytes held."""
        return len(self._raw) + len(self._message)

    def receive(self, data: bytes) -> WholeHello | None:
        """More bytes; the hello once it is whole. Raises ``TlsError``."""
        raw, message = self._raw, self._message
        raw += data
        position, last = 0, len(raw)
        try:
            while last - position >= HEADER_SIZE:
                content_type = raw[position]
                size = raw[position + 3] << 8 | raw[position + 4]
                end = position + HEADER_SIZE + size
                if (
                    content_type == _HANDSHAKE
                    and 0 < size <= MAX_PLAINTEXT
                    and end <= last
                    and len(message) + size < self._size
                ):
                    # The middle of a message: there may be a record for each of its bytes.
                    message += raw[position + HEADER_SIZE : end]
                    position = end
                    continue
                self._check_header(content_type, size)
                if last < end:
                    break
                fragment = raw[position + HEADER_SIZE : end]
                position = end
                if self._take(content_type, fragment):
                    return WholeHello(bytes(message), bytes(raw[position:]))
        finally:
            del raw[:position]
        if raw:
            self._check_type(raw[0])
        return None

    def _check_type(self, content_type: int) -> None:
        """Refuse what can never become a hello from its first byte on."""
        if content_type in (ContentType.HANDSHAKE, ContentType.ALERT):
            return
        if self._message:
            # RFC 8446, Section 5.1: no other record inside a handshake message.
            raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)
        if content_type == ContentType.CHANGE_CIPHER_SPEC and self._ccs_allowed:
            return
        if content_type == ContentType.APPLICATION_DATA and self._skip:
            return
        raise PeerMisbehaved(Reason.UNEXPECTED_RECORD)

    def _check_header(self, content_type: int, size: int) -> None:
        self._check_type(content_type)
        if size == 0:
            # RFC 8446, Section 5.1: no zero-length fragments of Handshake or Alert.
            raise PeerMisbehaved(Reason.EMPTY_RECORD)
        if content_type == ContentType.APPLICATION_DATA:
            if size > MAX_CIPHERTEXT:
                raise PeerMisbehaved(Reason.RECORD_OVERFLOW)
            # RFC 8446, Section 4.2.10: skip 0-RTT records, up to a limit.
            if size > self._skip:
                raise PeerMisbehaved(Reason.UNEXPECTED_EARLY_DATA)
            return
        if size > MAX_PLAINTEXT:
            raise PeerMisbehaved(Reason.RECORD_OVERFLOW)
        if content_type == ContentType.HANDSHAKE and len(self._message) + size > self._limit:
            raise PeerMisbehaved(Reason.MESSAGE_TOO_LONG)

    def _take(self, content_type: int, fragment: bytearray) -> bool:
        """One whole record; true where it completes the hello."""
        if content_type == ContentType.HANDSHAKE:
            return self._append(fragment)
        if content_type == ContentType.ALERT:
            if len(fragment) != 2:
                raise PeerMisbehaved(Reason.BAD_ALERT)
            raise PeerAborted(fragment[1])
        if content_type == ContentType.APPLICATION_DATA:
            self._skip -= len(fragment)
            return False
        # RFC 8446, Section 5: a change_cipher_spec with any other value is refused.
        if fragment != b"\1":
            raise PeerMisbehaved(Reason.UNEXPECTED_CCS)
        self._ccs_allowed -= 1
        return False

    def _append(self, fragment: bytearray) -> bool:
        message = self._message
        message += fragment
        if message[0] != HandshakeType.CLIENT_HELLO:
            raise PeerMisbehaved(Reason.UNEXPECTED_MESSAGE)
        if len(message) < 4:
            return False
        self._size = size = 4 + int.from_bytes(message[1:4])
        if size > self._limit:
            raise PeerMisbehaved(Reason.MESSAGE_TOO_LONG)
        if len(message) > size:
            # RFC 8446, Section 5.1: the keys change behind a hello, so a record ends with it.
            raise PeerMisbehaved(Reason.NOT_ALIGNED)
        return len(message) == size
