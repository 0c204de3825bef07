"""Target: what travels between processes: contexts, capsules, frames, whole channels.

The input's first byte chooses. Asserted: what decodes encodes to the same bytes, also by a second
writing of the format; decoding gives no more than the bytes can hold; a decoded context can be
used; for the channels see `channel.py`.
"""

import struct
from collections.abc import Callable
from typing import Final

from proxy.handoff import ChannelError, decode_capsule, encode_capsule
from proxy.handoff.frames import (
    AcceptedFrame,
    AnswerFrame,
    CreditFrame,
    DeniedFrame,
    InlineOffer,
    MemoryOffer,
    announced_descriptors,
    decode_answers,
    decode_offers,
)
from proxy.handoff.settings import PAYLOAD_BYTES_MAX
from proxy.tls import (
    Connection,
    Established,
    Misuse,
    TlsContext,
    TlsError,
    answer,
    decode_context,
    encode_context,
)
from proxy.wire import DecodeError
from tests.fuzz.channel import sink, source
from tests.fuzz.hello import ENTROPY
from tests.fuzz.rules import check, policy

__all__ = ["KINDS", "capsule"]

_REASONS: Final = frozenset(
    {
        "context_flag",
        "context_hash",
        "context_parameters",
        "context_secret",
        "context_size",
        "context_stage",
        "context_text",
        "context_version",
        "trailing_bytes",
        "truncated",
    }
)
_LAST_SEQUENCE: Final = (1 << 64) - 1
# Reasons that a worker sends: 1 to 15, of which these are known.
_KNOWN_DENIALS: Final = range(1, 7)


def capsule(data: bytes) -> str:
    """The target; says whether the rest was taken."""
    name, decode = KINDS[sum(data[:1]) % len(KINDS)]
    return f"{name} {'taken' if decode(data[1:]) else 'refused'}"


def _context(data: bytes) -> bool:
    try:
        decoded = decode_context(data)
    except DecodeError as error:
        assert error.reason in _REASONS
        return False
    assert encode_context(decoded) == data
    _use(decoded)
    return True


def _use(decoded: TlsContext) -> None:
    """The secrets are whatever the bytes were, so nothing opens; but nothing else happens."""
    try:
        if isinstance(decoded, Established):
            Connection(decoded).receive(b"")
        else:
            answer(decoded, policy(), ENTROPY)
    except TlsError as error:
        check(error)
    except Misuse:
        assert isinstance(decoded, Established)
        assert decoded.read_sequence == _LAST_SEQUENCE


def _capsule(data: bytes) -> bool:
    try:
        decoded = decode_capsule(data)
    except ChannelError as error:
        assert str(error).removeprefix("a malformed capsule: ") in {
            *_REASONS,
            "a capsule of another version",
        }
        return False
    assert encode_capsule(decoded) == data
    milliseconds = round(decoded.remaining_s * 1000)
    header = struct.pack("!BIHI", data[0], decoded.generation, decoded.listener, milliseconds)
    assert header + encode_context(decoded.context) == data
    return True


def _offers(data: bytes) -> bool:
    try:
        offers = decode_offers(data)
    except ChannelError:
        return False
    written = bytearray((1, data[1]))
    descriptors = 0
    for offer in offers:
        match offer:
            case InlineOffer(number, payload):
                written += struct.pack("!II", number, len(payload)) + payload
                descriptors += 1
            case MemoryOffer(number, length):
                assert length <= PAYLOAD_BYTES_MAX
                written += struct.pack("!II", number, length | 1 << 31)
                descriptors += 2
    assert written == data
    assert descriptors == announced_descriptors(data) <= 253
    return True


def _answers(data: bytes) -> bool:
    try:
        frames = decode_answers(data)
    except ChannelError:
        return False
    assert len(frames) <= len(data)
    position = 0
    for frame in frames:
        written = _written(frame)
        found = data[position : position + len(written)]
        assert written == (_known(found) if isinstance(frame, DeniedFrame) else found)
        position += len(written)
    assert position == len(data)
    return True


def _written(frame: AnswerFrame) -> bytes:
    match frame:
        case AcceptedFrame(ids):
            return struct.pack(f"!BH{len(ids)}I", 2, len(ids), *ids)
        case DeniedFrame(denials):
            items = b"".join(struct.pack("!IB", *denial) for denial in denials)
            return struct.pack("!BH", 3, len(denials)) + items
        case CreditFrame(credit):
            return struct.pack("!BI", 4, credit)


def _known(frame: bytes) -> bytes:
    """The frame with reasons that only a newer worker knows as 0, which is how they are read."""
    known = bytearray(frame)
    for at in range(3 + 4, len(known), 5):
        known[at] = known[at] if known[at] in _KNOWN_DENIALS else 0
    return bytes(known)


KINDS: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("context", _context),
    ("capsule", _capsule),
    ("offers", _offers),
    ("answers", _answers),
    ("sink", sink),
    ("source", source),
)
