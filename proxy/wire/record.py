"""The record layer's framing (RFC 8446, Section 5.1): headers and limits, no protection."""

from typing import Final

from proxy.wire.registry import AlertDescription, ContentType

__all__ = [
    "HEADER_SIZE",
    "MAX_CIPHERTEXT",
    "MAX_PLAINTEXT",
    "alert_message",
    "alert_record",
    "change_cipher_spec_record",
    "plaintext_records",
]

HEADER_SIZE: Final = 5
MAX_PLAINTEXT: Final = 1 << 14  # RFC 8446, Section 5.1
MAX_CIPHERTEXT: Final = MAX_PLAINTEXT + 256  # RFC 8446, Section 5.2

# RFC 8446, Section 5.1: legacy_record_version MUST be 0x0303.
_PREFIXES: Final = {one: one.to_bytes(1) + b"\3\3" for one in ContentType}
_FATAL: Final = 2
_WARNING: Final = 1


def plaintext_records(content_type: ContentType, data: bytes) -> bytes:
    """``TLSPlaintext`` records that carry ``data``, fragmented where it is too long."""
    size = len(data)
    if size <= MAX_PLAINTEXT:
        return _PREFIXES[content_type] + size.to_bytes(2) + data
    return b"".join(
        plaintext_records(content_type, data[start : start + MAX_PLAINTEXT])
        for start in range(0, len(data), MAX_PLAINTEXT)
    )


def alert_message(description: AlertDescription) -> bytes:
    """``struct Alert`` (RFC 8446, Section 6); only the closure alerts are warnings."""
    closure = (AlertDescription.CLOSE_NOTIFY, AlertDescription.USER_CANCELED)
    return bytes((_WARNING if description in closure else _FATAL, description))


def alert_record(description: AlertDescription) -> bytes:
    """An unprotected alert."""
    return plaintext_records(ContentType.ALERT, alert_message(description))


def change_cipher_spec_record() -> bytes:
    """The dummy record of middlebox compatibility (RFC 8446, Appendix D.4)."""
    return plaintext_records(ContentType.CHANGE_CIPHER_SPEC, b"\1")
