"""Hand-off: a connection's context and its descriptor from a front to a worker.

Owns the channel between one front and one worker (Source and Sink), and the choice among workers
(Dispatcher). Rules: one owner of a connection at any time; the source keeps its descriptor until
the acknowledgement, and a worker acknowledges before it reads or writes; nothing blocks and every
wait ends. Payloads are opaque to the channel.
"""

from proxy.handoff.capsule import Capsule, decode_capsule, encode_capsule
from proxy.handoff.descriptors import (
    Received,
    Reserve,
    channel_pair,
    close_all,
    receive_message,
    send_message,
)
from proxy.handoff.dispatcher import Dispatcher
from proxy.handoff.errors import ChannelError, Misuse, NoCredit, PayloadTooLarge
from proxy.handoff.events import (
    AcceptanceSent,
    Accepted,
    Closed,
    CloseReason,
    Credited,
    DenialReason,
    Denied,
    Detached,
    DispatcherEvent,
    Offer,
    Offered,
    SinkEvent,
    SourceEvent,
)
from proxy.handoff.memory import read_sealed, sealed
from proxy.handoff.outbox import Settlement
from proxy.handoff.settings import PAYLOAD_BYTES_MAX, ChannelSettings, DispatcherSettings
from proxy.handoff.sink import Sink
from proxy.handoff.source import Source

__all__ = [
    "PAYLOAD_BYTES_MAX",
    "AcceptanceSent",
    "Accepted",
    "Capsule",
    "ChannelError",
    "ChannelSettings",
    "CloseReason",
    "Closed",
    "Credited",
    "DenialReason",
    "Denied",
    "Detached",
    "Dispatcher",
    "DispatcherEvent",
    "DispatcherSettings",
    "Misuse",
    "NoCredit",
    "Offer",
    "Offered",
    "PayloadTooLarge",
    "Received",
    "Reserve",
    "Settlement",
    "Sink",
    "SinkEvent",
    "Source",
    "SourceEvent",
    "channel_pair",
    "close_all",
    "decode_capsule",
    "encode_capsule",
    "read_sealed",
    "receive_message",
    "sealed",
    "send_message",
]
