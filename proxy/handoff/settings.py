"""Bounds of hand-offs: of one channel, and of the dispatcher that chooses among channels.

Rules: values only, defaults with their reasons; what the kernel fixes is a constant here, so that
no other file knows a number of it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "DESCRIPTORS_PER_MESSAGE_MAX",
    "MESSAGE_BYTES_MAX",
    "PAYLOAD_BYTES_MAX",
    "WINDOW_MAX",
    "ChannelSettings",
    "DispatcherSettings",
]

DESCRIPTORS_PER_MESSAGE_MAX = 253
"""SCM_MAX_FD: more in one sendmsg is EINVAL (unix(7))."""

MESSAGE_BYTES_MAX = 64 * 1024
"""What a receiver is ready to read at once. A third of Linux's default SO_SNDBUF (208 KiB, which
a SEQPACKET message may not exceed), so one batch can be written while another is read."""

PAYLOAD_BYTES_MAX = 1024 * 1024
"""A capsule of a legal connection stays below 512 KiB (a 129 KiB hello, its flight, unread and
unsent bytes); twice that is a bug, not a client."""

WINDOW_MAX = 4096
"""Credit a receiver may have given: every answer to all of it fits one message (5 bytes each)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """Bounds of one channel between a front and a worker. Raises ValueError out of range."""

    batch_bytes: int = MESSAGE_BYTES_MAX
    """Bytes of one message, at most MESSAGE_BYTES_MAX; halved again under a small SO_SNDBUF."""
    batch_descriptors: int = 128
    """Descriptors in one message: beyond a hundred a descriptor gets no cheaper, while the
    worker's loop is away from its clients for the whole batch."""
    window: int = 128
    """Offers that a worker lets a front have unanswered. Each is backed by a spare descriptor in
    the worker, and 128 of them are the work of about 5 ms."""

    def __post_init__(self) -> None:
        if not 1024 <= self.batch_bytes <= MESSAGE_BYTES_MAX:
            raise ValueError(f"batch_bytes {self.batch_bytes} not in 1024..{MESSAGE_BYTES_MAX}")
        if not 2 <= self.batch_descriptors <= DESCRIPTORS_PER_MESSAGE_MAX:
            raise ValueError(f"batch_descriptors {self.batch_descriptors} not in 2..253")
        if not 1 <= self.window <= WINDOW_MAX:
            raise ValueError(f"window {self.window} not in 1..{WINDOW_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherSettings:
    """Bounds of what a front holds for workers that have no credit to give, or do not answer."""

    waiting_max: int = 4096
    """Replies that wait for credit at once; the next one is refused."""
    waiting_bytes_max: int = 16 * 1024 * 1024
    """Their capsules together: 4 KiB for each of the above, some may be larger."""
    waiting_timeout_s: float = 5.0
    """How long a reply waits for credit: longer than the restart of a worker, shorter than a
    person's patience."""
    answer_timeout_s: float = 10.0
    """How long a worker may leave an offer unanswered before it counts as stuck and loses its
    channel. A worker answers within one turn of its loop; 10 s is no turn of a healthy loop."""
    denials_max: int = 3
    """Workers that are asked about one connection before the denial is final."""
