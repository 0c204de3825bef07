"""What travels with a descriptor: the connection's ``TlsContext`` and whose client it is.

Versioned: a reader of another version refuses the bytes and the connection stays with its owner.

    struct {
        uint8 version = 0x01;
        uint32 generation;      /* of the configuration under which the handshake was answered */
        opaque context[];       /* proxy.tls.encode_context: to the end */
    } Capsule;
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from proxy.handoff.errors import ChannelError
from proxy.tls import TlsContext, TlsError, decode_context, encode_context

__all__ = ["Capsule", "decode_capsule", "encode_capsule"]

_VERSION = 1
_HEADER = Struct("!BI")


@dataclass(frozen=True, slots=True)
class Capsule:
    """A connection on its way to another process."""

    generation: int
    context: TlsContext


def encode_capsule(capsule: Capsule) -> bytes:
    """The byte form. It holds traffic secrets."""
    return _HEADER.pack(_VERSION, capsule.generation) + encode_context(capsule.context)


def decode_capsule(data: bytes) -> Capsule:
    """The inverse. Raises ChannelError for another version or malformed bytes."""
    if len(data) < _HEADER.size or data[0] != _VERSION:
        raise ChannelError("a capsule of another version")
    _, generation = _HEADER.unpack_from(data)
    try:
        return Capsule(generation, decode_context(data[_HEADER.size :]))
    except TlsError as error:
        raise ChannelError(f"a malformed capsule: {error.reason}") from None
