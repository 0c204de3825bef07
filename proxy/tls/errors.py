"""Why a connection must end, and whose fault it is.

Handlers raise; ``_ALERTS`` is the one table from a reason to the alert the peer is told
(RFC 8446, Section 6.2); the edge sends it. ``DecodeError`` comes from the wire layer.
"""

from enum import StrEnum
from typing import Final

from proxy.wire import AlertDescription, TlsError

__all__ = ["Misuse", "PeerAborted", "PeerIncompatible", "PeerMisbehaved", "Reason", "TlsError"]


class Reason(StrEnum):
    """Labels of what went wrong; closed, because they are metric labels."""

    # The peer broke a rule.
    UNEXPECTED_RECORD = "unexpected_record"
    UNEXPECTED_MESSAGE = "unexpected_message"
    UNEXPECTED_CCS = "unexpected_ccs"
    EMPTY_RECORD = "empty_record"
    RECORD_OVERFLOW = "record_overflow"
    MESSAGE_TOO_LONG = "message_too_long"
    NOT_ALIGNED = "not_aligned"
    BAD_RECORD_MAC = "bad_record_mac"
    NO_CONTENT_TYPE = "no_content_type"
    BAD_FINISHED = "bad_finished"
    BAD_FINISHED_SIZE = "bad_finished_size"
    BAD_COMPRESSION = "bad_compression"
    BAD_KEY_SHARE = "bad_key_share"
    BAD_COOKIE = "bad_cookie"
    HELLO_CHANGED = "hello_changed"
    SHARE_NOT_IN_GROUPS = "share_not_in_groups"
    DUPLICATE_SHARE = "duplicate_share"
    MISSING_EXTENSION = "missing_extension"
    UNEXPECTED_EARLY_DATA = "unexpected_early_data"
    TOO_MANY_KEY_UPDATES = "too_many_key_updates"
    TOO_MANY_EMPTY_RECORDS = "too_many_empty_records"
    BAD_KEY_UPDATE = "bad_key_update"
    BAD_ALERT = "bad_alert"
    BAD_SERVER_NAME = "bad_server_name"
    # The peer keeps the rules, but the two have nothing in common.
    NO_SHARED_VERSION = "no_shared_version"
    NO_SHARED_SUITE = "no_shared_suite"
    NO_SHARED_GROUP = "no_shared_group"
    NO_SHARED_SCHEME = "no_shared_scheme"
    NO_SHARED_PROTOCOL = "no_shared_protocol"
    UNKNOWN_NAME = "unknown_name"
    # The peer ended it.
    PEER_ALERT = "peer_alert"


_UNEXPECTED: Final = AlertDescription.UNEXPECTED_MESSAGE
_ILLEGAL: Final = AlertDescription.ILLEGAL_PARAMETER

_ALERTS: Final[dict[Reason, AlertDescription | None]] = {
    Reason.UNEXPECTED_RECORD: _UNEXPECTED,
    Reason.UNEXPECTED_MESSAGE: _UNEXPECTED,
    Reason.UNEXPECTED_CCS: _UNEXPECTED,
    Reason.EMPTY_RECORD: _UNEXPECTED,
    Reason.RECORD_OVERFLOW: AlertDescription.RECORD_OVERFLOW,
    Reason.MESSAGE_TOO_LONG: _ILLEGAL,
    Reason.NOT_ALIGNED: _UNEXPECTED,
    Reason.BAD_RECORD_MAC: AlertDescription.BAD_RECORD_MAC,
    Reason.NO_CONTENT_TYPE: _UNEXPECTED,
    Reason.BAD_FINISHED: AlertDescription.DECRYPT_ERROR,
    Reason.BAD_FINISHED_SIZE: AlertDescription.DECODE_ERROR,
    Reason.BAD_COMPRESSION: _ILLEGAL,
    Reason.BAD_KEY_SHARE: _ILLEGAL,
    Reason.BAD_COOKIE: _ILLEGAL,
    Reason.HELLO_CHANGED: _ILLEGAL,
    Reason.SHARE_NOT_IN_GROUPS: _ILLEGAL,
    Reason.DUPLICATE_SHARE: _ILLEGAL,
    Reason.MISSING_EXTENSION: AlertDescription.MISSING_EXTENSION,
    Reason.UNEXPECTED_EARLY_DATA: _UNEXPECTED,
    Reason.TOO_MANY_KEY_UPDATES: _UNEXPECTED,
    Reason.TOO_MANY_EMPTY_RECORDS: _UNEXPECTED,
    Reason.BAD_KEY_UPDATE: _ILLEGAL,
    Reason.BAD_ALERT: AlertDescription.DECODE_ERROR,
    Reason.BAD_SERVER_NAME: _ILLEGAL,
    Reason.NO_SHARED_VERSION: AlertDescription.PROTOCOL_VERSION,
    Reason.NO_SHARED_SUITE: AlertDescription.HANDSHAKE_FAILURE,
    Reason.NO_SHARED_GROUP: AlertDescription.HANDSHAKE_FAILURE,
    Reason.NO_SHARED_SCHEME: AlertDescription.HANDSHAKE_FAILURE,
    Reason.NO_SHARED_PROTOCOL: AlertDescription.NO_APPLICATION_PROTOCOL,
    Reason.UNKNOWN_NAME: AlertDescription.UNRECOGNIZED_NAME,
    Reason.PEER_ALERT: None,
}


class _Reasoned(TlsError):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value, _ALERTS[reason])


class PeerMisbehaved(_Reasoned):
    """The peer did what the RFC forbids."""


class PeerIncompatible(_Reasoned):
    """The peer and this configuration have nothing in common."""


class PeerAborted(TlsError):
    """The peer sent a fatal alert; nothing is owed to it."""

    def __init__(self, description: int) -> None:
        super().__init__(Reason.PEER_ALERT.value, None)
        self.description = description


class Misuse(Exception):
    """Our own code broke the engine's contract: a bug, never the peer's doing."""
