"""What channels and the dispatcher report, and the offer they are about.

Rules: values only. A payload holds traffic secrets, so no repr shows one. An event that names a
descriptor says in its first line who owns it from now on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from proxy.handoff.source import Source

__all__ = [
    "AcceptanceSent",
    "Accepted",
    "CloseReason",
    "Closed",
    "Credited",
    "DenialReason",
    "Denied",
    "Detached",
    "DispatcherEvent",
    "Offer",
    "Offered",
    "SinkEvent",
    "SourceEvent",
]


class DenialReason(enum.IntEnum):
    """Why an offer was not taken. 1 to 15 travel on the channel; the others arise in the front."""

    UNSPECIFIED = 0
    """A reason that only a newer worker knows."""
    DRAINING = 1
    """The worker takes no new connections any more."""
    OVERLOADED = 2
    """The worker has no room now."""
    DESCRIPTORS = 3
    """The worker ran out of descriptors: the kernel truncated the batch (MSG_CTRUNC)."""
    UNREADABLE = 4
    """The payload is not what the worker understands."""
    UNVERIFIED = 5
    """The worker refuses the peer: its client certificate does not verify."""
    UNKNOWN_GENERATION = 6
    """The worker lacks the configuration that answered the client: it is newer, or behind."""
    QUEUE_FULL = 16
    """Too many replies wait for credit already."""
    EXPIRED = 17
    """No worker had credit in time."""
    BAD_DESCRIPTOR = 18
    """What was to be handed over is not an open descriptor: a bug of the front."""
    NO_DESCRIPTORS = 19
    """The front had no descriptor left to carry a large payload."""
    TOO_LARGE = 20
    """The payload exceeds PAYLOAD_BYTES_MAX."""
    CONDEMNED = 21
    """Its worker broke the protocol and may or may not have taken the connection, which has
    been shut down: two writers on one key would repeat a nonce."""

    @property
    def label(self) -> str:
        """The name in metrics."""
        return self.name.lower()

    @property
    def elsewhere(self) -> bool:
        """Whether another worker may well accept what this one denied."""
        return self in _ELSEWHERE


_ELSEWHERE = frozenset(
    {
        DenialReason.DRAINING,
        DenialReason.OVERLOADED,
        DenialReason.DESCRIPTORS,
        DenialReason.UNKNOWN_GENERATION,
    }
)


class CloseReason(enum.Enum):
    """Why a channel ended."""

    PEER_GONE = "peer_gone"
    """The other process closed its end or died."""
    VIOLATION = "violation"
    """The other process sent what the protocol forbids."""
    CLOSED_HERE = "closed_here"
    """This process closed its end."""
    STUCK = "stuck"
    """The other process left an offer unanswered for too long."""


@dataclass(slots=True, eq=False)
class Offer:
    """A connection to be taken over. Whoever holds it owns the descriptor until Accepted."""

    payload: bytes = field(repr=False)
    """The capsule, opaque here."""
    descriptor: int
    """The client's socket."""
    since_s: float
    """Monotonic time at which the front began to offer it."""
    denials: int = 0
    """Workers that have denied it."""


@dataclass(frozen=True, slots=True)
class Offered:
    """To the worker: an offer. The sink owns the descriptor until the offer is accepted."""

    id: int
    payload: bytes = field(repr=False)
    descriptor: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """To the front: the worker has the connection. The front closes its copy, and only that."""

    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Denied:
    """To the front: not taken. The front owns the connection as if nothing had happened."""

    offer: Offer
    reason: DenialReason


@dataclass(frozen=True, slots=True)
class Credited:
    """To the front: the worker takes this many offers more."""

    credit: int


@dataclass(frozen=True, slots=True)
class AcceptanceSent:
    """To the worker: these acceptances went out late; their connections may be served now."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """The channel has ended; nothing follows.

    `revoked` are offers that the worker had accepted without the acceptance going out: the front
    gives them to somebody else, so the worker, who owns their descriptors, closes them unused.
    Offers without an answer are withdrawn, and the sink has closed their descriptors.
    """

    reason: CloseReason
    revoked: tuple[int, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Detached:
    """To the front: this source is out of use; remove it from the loop, then close it."""

    source: Source
    reason: CloseReason
    detail: str = ""


SourceEvent: TypeAlias = Accepted | Denied | Credited | Closed
SinkEvent: TypeAlias = Offered | AcceptanceSent | Closed
DispatcherEvent: TypeAlias = Accepted | Denied | Detached
