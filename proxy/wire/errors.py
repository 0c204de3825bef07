"""The error of this layer: bytes that are not the structure they claim to be."""

from proxy.wire.registry import AlertDescription

__all__ = ["DecodeError", "TlsError"]


class TlsError(Exception):
    """A TLS connection must end.

    ``alert`` is what the peer is told (``None``: nothing, because the peer ended it), ``reason``
    a short label out of a closed set, fit for a metric.
    """

    def __init__(self, reason: str, alert: AlertDescription | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.alert = alert


class DecodeError(TlsError):
    """The peer's bytes do not parse (RFC 8446, Section 6.2, decode_error)."""

    def __init__(
        self, reason: str, alert: AlertDescription = AlertDescription.DECODE_ERROR
    ) -> None:
        super().__init__(reason, alert)
