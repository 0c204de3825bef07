"""Record protection (RFC 8446, Section 5.2): one direction's key, IV and sequence number."""

from typing import Final

from cryptography.exceptions import InvalidTag

from proxy.tls.errors import Misuse, PeerMisbehaved, Reason
from proxy.tls.key_schedule import next_traffic_secret, traffic_keys
from proxy.tls.suites import Bytes, SuiteParameters
from proxy.wire import HEADER_SIZE, MAX_PLAINTEXT, ContentType

__all__ = ["Opener", "Sealer", "sealed_size"]

_TAG_SIZE: Final = 16
_EXPANSION: Final = 1 + _TAG_SIZE  # content type and tag
_OVERHEAD: Final = HEADER_SIZE + _EXPANSION
_MAX_INNER: Final = MAX_PLAINTEXT + 1
# RFC 8446, Section 5.2: opaque_type and legacy_record_version.
_HEADER: Final = b"\x17\x03\x03"
_FULL_HEADER: Final = _HEADER + (MAX_PLAINTEXT + _EXPANSION).to_bytes(2)
_FULL_RECORD: Final = MAX_PLAINTEXT + _OVERHEAD
# Sequence numbers MUST NOT wrap (RFC 8446, Section 5.3).
_SEQUENCE_LIMIT: Final = (1 << 64) - 1


def sealed_size(size: int) -> int:
    """What ``size`` bytes become as full records and a shorter last one."""
    return size + -(-size // MAX_PLAINTEXT) * _OVERHEAD


class _Direction:
    __slots__ = ("_aead", "_iv", "parameters", "secret", "sequence")

    def __init__(self, parameters: SuiteParameters, secret: bytes, sequence: int = 0) -> None:
        self.parameters = parameters
        self._install(secret, sequence)

    def _install(self, secret: bytes, sequence: int) -> None:
        parameters = self.parameters
        key, iv = traffic_keys(parameters.hash_name, secret, parameters.key_size)
        self.secret = secret
        self.sequence = sequence
        self._iv = int.from_bytes(iv)
        self._aead = parameters.aead(key)

    def update(self) -> None:
        """The next generation of keys (RFC 8446, Section 7.2)."""
        self._install(next_traffic_secret(self.parameters.hash_name, self.secret), 0)

    def _nonce(self) -> bytes:
        # RFC 8446, Section 5.3: the padded sequence number XORed with the static IV.
        sequence = self.sequence
        if sequence >= _SEQUENCE_LIMIT:
            raise Misuse("sequence number would wrap")
        self.sequence = sequence + 1
        return (self._iv ^ sequence).to_bytes(12)


class Sealer(_Direction):
    """Our writing direction."""

    __slots__ = ()

    @property
    def due_for_update(self) -> bool:
        """Whether the AEAD's limit for one key is near (RFC 8446, Section 5.5)."""
        return self.sequence >= self.parameters.records_per_key

    def seal(self, content_type: ContentType, fragment: bytes) -> bytes:
        """One ``TLSCiphertext`` of at most 2^14 bytes of ``fragment``."""
        header = _HEADER + (len(fragment) + _EXPANSION).to_bytes(2)
        inner = fragment + content_type.to_bytes(1)
        return header + self._aead.encrypt(self._nonce(), inner, header)

    def seal_all(self, content_type: ContentType, data: bytes) -> bytes:
        """As many records as ``data`` needs."""
        if len(data) <= MAX_PLAINTEXT:
            return self.seal(content_type, data)
        return b"".join(
            self.seal(content_type, data[start : start + MAX_PLAINTEXT])
            for start in range(0, len(data), MAX_PLAINTEXT)
        )

    def seal_into(self, data: memoryview, target: memoryview) -> int:
        """The bulk path: application data records for all of ``data``; how many bytes they are.

        ``target`` has room for ``sealed_size``.
        """
        whole, rest = divmod(len(data), MAX_PLAINTEXT)
        encrypt_into = self._aead.encrypt_into
        start = position = 0
        # The plaintext has to stand before its content type: one buffer for all of the records,
        # which stays in the processor's nearest cache.
        with memoryview(bytearray(_MAX_INNER)) as inner:
            inner[MAX_PLAINTEXT] = ContentType.APPLICATION_DATA
            for _ in range(whole):
                inner[:MAX_PLAINTEXT] = data[start : start + MAX_PLAINTEXT]
                start += MAX_PLAINTEXT
                body = position + HEADER_SIZE
                target[position:body] = _FULL_HEADER
                position += _FULL_RECORD
                # A view takes a view's bytes as they are; a bytearray would copy them twice.
                encrypt_into(self._nonce(), inner, _FULL_HEADER, target[body:position])
        if rest:
            last = self.seal(ContentType.APPLICATION_DATA, bytes(data[start:]))
            start, position = position, position + len(last)
            target[start:position] = last
        return position


class Opener(_Direction):
    """The peer's writing direction."""

    __slots__ = ()

    def open(self, header: bytes, ciphertext: Bytes) -> tuple[int, bytes]:
        """Content type and plaintext of one record; a bad tag is ``bad_record_mac``."""
        if len(ciphertext) < _EXPANSION:
            # Too short for a tag and a content type: cannot have been sealed by an honest peer.
            raise PeerMisbehaved(Reason.BAD_RECORD_MAC)
        nonce = self._nonce()
        try:
            inner = self._aead.decrypt(nonce, ciphertext, header)
        except InvalidTag:
            self.sequence -= 1
            raise PeerMisbehaved(Reason.BAD_RECORD_MAC) from None
        if len(inner) > _MAX_INNER:
            # RFC 8446, Section 5.4: TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets.
            raise PeerMisbehaved(Reason.RECORD_OVERFLOW)
        content_type = inner[-1]
        if content_type:
            return content_type, inner[:-1]
        return _stripped(inner)

    def open_into(
        self, header: bytes, ciphertext: memoryview, target: memoryview
    ) -> tuple[int, int]:
        """``open`` into ``target``: content type, and the size of the plaintext there.

        Behind the plaintext the record's content type and padding are left in ``target``.
        """
        size = len(ciphertext) - _TAG_SIZE
        if size < 1:
            raise PeerMisbehaved(Reason.BAD_RECORD_MAC)
        nonce = self._nonce()
        inner = target[:size]
        try:
            self._aead.decrypt_into(nonce, ciphertext, header, inner)
        except InvalidTag:
            self.sequence -= 1
            raise PeerMisbehaved(Reason.BAD_RECORD_MAC) from None
        if size > _MAX_INNER:
            raise PeerMisbehaved(Reason.RECORD_OVERFLOW)
        content_type = inner[-1]
        if content_type:
            return content_type, size - 1
        content_type, plaintext = _stripped(bytes(inner))
        return content_type, len(plaintext)


def _stripped(inner: bytes) -> tuple[int, bytes]:
    """Content type and plaintext of a padded record (RFC 8446, Section 5.4)."""
    stripped = inner.rstrip(b"\0")
    if not stripped:
        # No non-zero octet at all.
        raise PeerMisbehaved(Reason.NO_CONTENT_TYPE)
    return stripped[-1], stripped[:-1]
