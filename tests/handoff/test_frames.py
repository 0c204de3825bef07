"""The channel's messages: round trips, every truncation, any bytes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.handoff.errors import ChannelError
from proxy.handoff.events import DenialReason
from proxy.handoff.frames import (
    AcceptedFrame,
    CreditFrame,
    DeniedFrame,
    InlineOffer,
    MemoryOffer,
    OfferFrame,
    announced_descriptors,
    batch_header,
    decode_answers,
    decode_offers,
    encode_answers,
    memory_offer_header,
    offer_header,
)
from proxy.handoff.settings import PAYLOAD_BYTES_MAX

IDS = st.integers(0, 0xFFFF_FFFF)
WIRE_REASONS = [reason for reason in DenialReason if reason < DenialReason.QUEUE_FULL]

GOLDEN_BATCH = bytes.fromhex("01 0200000001 00000003 616263fffffffe 00000000")
GOLDEN_MEMORY_BATCH = bytes.fromhex("01 0300000001 0000000000000002 80010000")
GOLDEN_ANSWERS = bytes.fromhex(
    "02 0002 00000001 0000000203 0001 00000003 0204 00000080",
)


def batch(offers: list[OfferFrame]) -> bytes:
    parts = [b""]
    descriptors = 0
    for offer in offers:
        if isinstance(offer, InlineOffer):
            parts += (offer_header(offer.id, len(offer.payload)), offer.payload)
            descriptors += 1
        else:
            parts.append(memory_offer_header(offer.id, offer.length))
            descriptors += 2
    parts[0] = batch_header(descriptors)
    return b"".join(parts)


def test_a_batch_is_these_bytes() -> None:
    offers: list[OfferFrame] = [InlineOffer(1, b"abc"), InlineOffer(0xFFFF_FFFE, b"")]
    assert batch(offers) == GOLDEN_BATCH
    assert decode_offers(GOLDEN_BATCH) == offers


def test_a_batch_with_a_memory_file_is_these_bytes() -> None:
    offers: list[OfferFrame] = [InlineOffer(1, b""), MemoryOffer(2, 0x10000)]
    assert batch(offers) == GOLDEN_MEMORY_BATCH
    assert decode_offers(GOLDEN_MEMORY_BATCH) == offers


def test_answers_are_these_bytes() -> None:
    assert encode_answers([1, 2], [(3, DenialReason.OVERLOADED)], 128) == GOLDEN_ANSWERS
    assert decode_answers(GOLDEN_ANSWERS) == [
        AcceptedFrame((1, 2)),
        DeniedFrame(((3, DenialReason.OVERLOADED),)),
        CreditFrame(128),
    ]


@given(
    st.lists(st.builds(InlineOffer, IDS, st.binary(max_size=40)), min_size=1, max_size=20),
    st.none() | st.builds(MemoryOffer, IDS, st.integers(0, PAYLOAD_BYTES_MAX)),
    st.randoms(use_true_random=False),
)
def test_batches_round_trip(
    inline: list[OfferFrame], memory: MemoryOffer | None, random: Random
) -> None:
    offers = list(inline)
    if memory is not None:
        offers.insert(random.randrange(len(offers) + 1), memory)
    message = batch(offers)
    assert decode_offers(message) == offers
    assert announced_descriptors(message[:2]) == len(offers) + (memory is not None)


@given(
    st.lists(IDS, max_size=50),
    st.lists(st.tuples(IDS, st.sampled_from(WIRE_REASONS)), max_size=50),
    st.integers(0, 0xFFFF_FFFF),
)
def test_answers_round_trip(
    accepted: list[int], denied: list[tuple[int, DenialReason]], credit: int
) -> None:
    frames = decode_answers(encode_answers(accepted, denied, credit))
    expected = [
        *([AcceptedFrame(tuple(accepted))] if accepted else []),
        *([DeniedFrame(tuple(denied))] if denied else []),
        *([CreditFrame(credit)] if credit else []),
    ]
    assert frames == expected


@pytest.mark.parametrize("length", range(len(GOLDEN_BATCH)))
def test_a_truncated_batch_is_refused(length: int) -> None:
    with pytest.raises(ChannelError):
        decode_offers(GOLDEN_BATCH[:length])


@pytest.mark.parametrize("length", set(range(1, len(GOLDEN_ANSWERS))) - {11, 19})
def test_truncated_answers_are_refused(length: int) -> None:
    with pytest.raises(ChannelError):
        decode_answers(GOLDEN_ANSWERS[:length])


@pytest.mark.parametrize("message", [GOLDEN_BATCH, GOLDEN_MEMORY_BATCH])
def test_trailing_bytes_are_refused(message: bytes) -> None:
    with pytest.raises(ChannelError):
        decode_offers(message + b"\0")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x02" + GOLDEN_BATCH[1:], "not a batch"),
        (b"\x01\x00", "not a batch"),
        (b"\x01\x01" + GOLDEN_BATCH[2:], "1 descriptors announced for 2 offers"),
        (b"\x01\x03" + GOLDEN_BATCH[2:], "3 descriptors announced for 2 offers"),
        (
            batch([MemoryOffer(1, 1), MemoryOffer(2, 1)]),
            "several memory files",
        ),
        (batch([MemoryOffer(1, PAYLOAD_BYTES_MAX + 1)]), "a payload of"),
        (batch([InlineOffer(i, b"") for i in range(254)]), "254 descriptors"),
    ],
)
def test_an_impossible_batch_is_refused(message: bytes, reason: str) -> None:
    with pytest.raises(ChannelError, match=reason):
        decode_offers(message)


def test_an_unknown_answer_is_refused() -> None:
    with pytest.raises(ChannelError, match="0x09"):
        decode_answers(b"\x09\x00\x00\x00\x00")


@pytest.mark.parametrize("code", [0, 15, DenialReason.QUEUE_FULL, 255])
def test_a_reason_of_a_newer_worker_is_still_a_denial(code: int) -> None:
    message = bytes.fromhex("03 0001 00000007") + bytes((code,))
    assert decode_answers(message) == [DeniedFrame(((7, DenialReason.UNSPECIFIED),))]


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x01\x02" + tail))
def test_any_bytes_are_offers_or_our_error(message: bytes) -> None:
    try:
        offers = decode_offers(message)
    except ChannelError:
        return
    assert batch(offers) == message


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"\x02\x00\x01" + tail))
def test_any_bytes_are_answers_or_our_error(message: bytes) -> None:
    try:
        frames = decode_answers(message)
    except ChannelError:
        return
    assert len(frames) <= len(message)


def test_reprs_show_no_payload() -> None:
    assert "secret" not in repr(InlineOffer(1, b"secret"))
