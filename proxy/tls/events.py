"""What an established connection reports."""

from dataclasses import dataclass

__all__ = ["ApplicationData", "CloseNotify", "Event"]


@dataclass(frozen=True, slots=True)
class ApplicationData:
    """Plaintext from the peer, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CloseNotify:
    """The peer will send no more; our direction stays open (RFC 8446, Section 6.1)."""


Event = ApplicationData | CloseNotify
