"""The channel's messages as bytes, and back.

Owns the format. One SEQPACKET message from the front is one batch of offers, its descriptors
beside it in the same order:

    struct {
        uint8 kind = 0x01;
        uint8 descriptors;          /* what a receiver must have room for, readable by MSG_PEEK */
        struct {
            uint32 id;
            uint32 length;          /* top bit: the payload is in a sealed memory file, whose
                                       descriptor follows the client's; at most one per batch */
            opaque payload[length];
        } offers[];
    }

One message from the worker is one or more of these, any order:

    struct { uint8 kind = 0x02; uint16 count; uint32 id[count]; } accepted;
    struct { uint8 kind = 0x03; uint16 count; struct { uint32 id; uint8 reason; } denied[count]; }
    struct { uint8 kind = 0x04; uint32 credit; }

Rules: integers are big-endian; any other byte sequence raises ChannelError; decoding allocates
no more than a small multiple of the message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from proxy.handoff.errors import ChannelError
from proxy.handoff.events import DenialReason
from proxy.handoff.settings import DESCRIPTORS_PER_MESSAGE_MAX, PAYLOAD_BYTES_MAX

__all__ = [
    "BATCH_HEADER_BYTES",
    "OFFER_HEADER_BYTES",
    "AcceptedFrame",
    "AnswerFrame",
    "CreditFrame",
    "DeniedFrame",
    "InlineOffer",
    "MemoryOffer",
    "OfferFrame",
    "announced_descriptors",
    "batch_header",
    "decode_answers",
    "decode_offers",
    "encode_answers",
    "memory_offer_header",
    "offer_header",
]

_OFFERS = 0x01
_ACCEPTED = 0x02
_DENIED = 0x03
_CREDIT = 0x04

_IN_MEMORY = 0x8000_0000

_OFFER = struct.Struct("!II")
_COUNT = struct.Struct("!BH")
_DENIAL = struct.Struct("!IB")
_CREDITED = struct.Struct("!BI")

BATCH_HEADER_BYTES = 2
OFFER_HEADER_BYTES = _OFFER.size

_REASONS = {reason.value: reason for reason in DenialReason if reason < DenialReason.QUEUE_FULL}


@dataclass(frozen=True, slots=True)
class InlineOffer:
    """An offer with its payload; one descriptor belongs to it."""

    id: int
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MemoryOffer:
    """An offer whose payload is in a memory file; two descriptors belong to it."""

    id: int
    length: int


@dataclass(frozen=True, slots=True)
class AcceptedFrame:
    """Offers that the worker has taken."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeniedFrame:
    """Offers that the worker has not taken, each with its reason."""

    denials: tuple[tuple[int, DenialReason], ...]


@dataclass(frozen=True, slots=True)
class CreditFrame:
    """Offers that the front may make beyond those it was allowed before."""

    credit: int


OfferFrame: TypeAlias = InlineOffer | MemoryOffer
AnswerFrame: TypeAlias = AcceptedFrame | DeniedFrame | CreditFrame


def batch_header(descriptors: int) -> bytes:
    """The first bytes of a batch that brings this many descriptors."""
    return bytes((_OFFERS, descriptors))


def offer_header(offer_id: int, length: int) -> bytes:
    """What precedes a payload of this length in the batch."""
    return _OFFER.pack(offer_id, length)


def memory_offer_header(offer_id: int, length: int) -> bytes:
    """What stands for a payload of this length in a memory file."""
    return _OFFER.pack(offer_id, length | _IN_MEMORY)


def announced_descriptors(start: bytes) -> int:
    """How many descriptors come with the batch that starts so; 0 when it is not a batch."""
    return start[1] if len(start) > 1 and start[0] == _OFFERS else 0


def decode_offers(message: bytes) -> list[OfferFrame]:
    """The offers of one batch, in order. Raises ChannelError."""
    end = len(message)
    if end <= BATCH_HEADER_BYTES or message[0] != _OFFERS:
        raise ChannelError("not a batch of offers")
    offers: list[OfferFrame] = []
    position = BATCH_HEADER_BYTES
    unpack = _OFFER.unpack_from
    in_memory = 0
    while position < end:
        if position + OFFER_HEADER_BYTES > end:
            raise ChannelError("truncated offer")
        offer_id, length = unpack(message, position)
        position += OFFER_HEADER_BYTES
        if length & _IN_MEMORY:
            in_memory += 1
            offers.append(_memory_offer(offer_id, length ^ _IN_MEMORY))
            continue
        start = position
        position += length
        if position > end:
            raise ChannelError("truncated payload")
        offers.append(InlineOffer(offer_id, message[start:position]))
    _check_descriptors(message[1], len(offers), in_memory)
    return offers


def encode_answers(
    accepted: Sequence[int],
    denied: Sequence[tuple[int, DenialReason]],
    credit: int,
) -> bytes:
    """The message with all that a worker has to say; empty when that is nothing."""
    parts: list[bytes] = []
    if accepted:
        parts.append(struct.pack(f"!BH{len(accepted)}I", _ACCEPTED, len(accepted), *accepted))
    if denied:
        parts.append(_COUNT.pack(_DENIED, len(denied)))
        parts.extend(_DENIAL.pack(offer_id, reason) for offer_id, reason in denied)
    if credit:
        parts.append(_CREDITED.pack(_CREDIT, credit))
    return b"".join(parts)


def decode_answers(message: bytes) -> list[AnswerFrame]:
    """The frames of one message of a worker, in order. Raises ChannelError."""
    frames: list[AnswerFrame] = []
    position = 0
    while position < len(message):
        kind = message[position]
        try:
            if kind == _ACCEPTED:
                count = _COUNT.unpack_from(message, position)[1]
                position += _COUNT.size
                frames.append(AcceptedFrame(struct.unpack_from(f"!{count}I", message, position)))
                position += 4 * count
            elif kind == _DENIED:
                count = _COUNT.unpack_from(message, position)[1]
                position += _COUNT.size
                end = position + _DENIAL.size * count
                frames.append(_denied(message[position:end], count))
                position = end
            elif kind == _CREDIT:
                frames.append(CreditFrame(_CREDITED.unpack_from(message, position)[1]))
                position += _CREDITED.size
            else:
                raise ChannelError(f"unknown frame {kind:#04x}")
        except struct.error as error:
            raise ChannelError("truncated frame") from error
    return frames


def _denied(body: bytes, count: int) -> DeniedFrame:
    if len(body) != _DENIAL.size * count:
        raise ChannelError("truncated frame")
    denials: Iterable[tuple[int, int]] = _DENIAL.iter_unpack(body)
    # A newer worker may know reasons that this front does not.
    unknown = DenialReason.UNSPECIFIED
    return DeniedFrame(tuple((id_, _REASONS.get(reason, unknown)) for id_, reason in denials))


def _memory_offer(offer_id: int, length: int) -> MemoryOffer:
    if length > PAYLOAD_BYTES_MAX:
        raise ChannelError(f"a payload of {length} bytes")
    return MemoryOffer(offer_id, length)


def _check_descriptors(announced: int, offers: int, in_memory: int) -> None:
    if in_memory > 1:
        raise ChannelError("several memory files in one batch")
    if announced != offers + in_memory or announced > DESCRIPTORS_PER_MESSAGE_MAX:
        raise ChannelError(f"{announced} descriptors announced for {offers} offers")
