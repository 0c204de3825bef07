"""What travels with a descriptor: the connection's ``TlsContext`` and whose client it is.

Versioned: a reader of another version refuses the bytes and the connection stays with its owner.

    struct {
        uint8 version = 0x02;
        uint32 generation;      /* of the configuration under which the handshake was answered */
        uint16 listener;        /* its place among the configuration's listeners */
        uint32 remaining_ms;    /* of the handshake's time limit; 0 once it has finished */
        opaque context[];       /* proxy.tls.encode_context: to the end */
    } Capsule;

Time travels as what is left of it, because clocks are a process's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from proxy.handoff.errors import ChannelError
from proxy.tls import TlsContext, TlsError, decode_context, encode_context

__all__ = ["Capsule", "decode_capsule", "encode_capsule"]

_VERSION = 2
_HEADER = Struct("!BIHI")
_REMAINING_MS_MAX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Capsule:
    """A connection on its way to another process."""

    generation: int
    """Of the configuration under which the handshake was answered."""
    context: TlsContext
    listener: int = 0
    """Where the client came in: the listener's place in that configuration. A ``Retried`` client's
    name is not chosen yet, so this is how its certificates are found."""
    remaining_s: float = 0.0
    """What was left of the handshake's whole time, from accept to Finished, when it was offered;
    0 where it has finished."""


def encode_capsule(capsule: Capsule) -> bytes:
    """The byte form. It holds traffic secrets."""
    remaining_ms = min(max(0, round(capsule.remaining_s * 1000)), _REMAINING_MS_MAX)
    header = _HEADER.pack(_VERSION, capsule.generation, capsule.listener, remaining_ms)
    return header + encode_context(capsule.context)


def decode_capsule(data: bytes) -> Capsule:
    """The inverse. Raises ChannelError for another version or malformed bytes."""
    if len(data) < _HEADER.size or data[0] != _VERSION:
        raise ChannelError("a capsule of another version")
    _, generation, listener, remaining_ms = _HEADER.unpack_from(data)
    try:
        context = decode_context(data[_HEADER.size :])
    except TlsError as error:
        raise ChannelError(f"a malformed capsule: {error.reason}") from None
    return Capsule(generation, context, listener, remaining_ms / 1000)
