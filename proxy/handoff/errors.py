"""What can go wrong on a channel, by whose fault it is."""

from __future__ import annotations

__all__ = ["ChannelError", "Misuse", "NoCredit", "PayloadTooLarge"]


class ChannelError(Exception):
    """The process at the other end broke the protocol; the channel cannot be used any further."""


class Misuse(Exception):
    """The caller did what the channel's rules forbid: our bug, nothing was changed."""


class NoCredit(Misuse):
    """An offer to a receiver that has granted no further credit."""


class PayloadTooLarge(Misuse):
    """A payload beyond PAYLOAD_BYTES_MAX."""
