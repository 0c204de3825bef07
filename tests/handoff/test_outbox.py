"""The offering end's state."""

from __future__ import annotations

import pytest

from proxy.handoff.errors import ChannelError, NoCredit
from proxy.handoff.events import Accepted, Credited, DenialReason, Denied, Offer
from proxy.handoff.frames import (
    AcceptedFrame,
    CreditFrame,
    DeniedFrame,
    InlineOffer,
    MemoryOffer,
    decode_offers,
)
from proxy.handoff.outbox import Outbox
from proxy.handoff.settings import WINDOW_MAX


def outbox(credit: int = 10, batch_bytes: int = 1024, batch_descriptors: int = 128) -> Outbox:
    box = Outbox(batch_bytes, batch_descriptors)
    box.answered(CreditFrame(credit))
    return box


def offers(count: int, size: int = 10) -> list[Offer]:
    return [Offer(bytes([i % 256]) * size, 100 + i, 1.0) for i in range(count)]


def put(box: Outbox, items: list[Offer]) -> None:
    for number, item in enumerate(items):
        box.put(item, float(number))


def send_all(box: Outbox) -> list[int]:
    """Send everything; returns how many offers each batch had."""
    sizes = []
    while (batch := box.next_batch()) is not None:
        assert len(decode_offers(batch.message)) == batch.offers
        sizes.append(batch.offers)
        box.batch_sent(batch)
    return sizes


def test_an_offer_uses_up_one_credit() -> None:
    box = Outbox(1024, 128)
    assert box.answered(CreditFrame(2)) == [Credited(2)]
    put(box, offers(2))
    assert box.credit == 0
    with pytest.raises(NoCredit):
        box.put(offers(1)[0], 0.0)
    send_all(box)
    box.answered(AcceptedFrame((0, 1)))
    assert box.credit == 0, "only the receiver gives credit"


def test_a_batch_carries_payloads_and_descriptors_in_order() -> None:
    box, items = outbox(), offers(3)
    put(box, items)
    batch = box.next_batch()
    assert batch is not None
    assert decode_offers(batch.message) == [
        InlineOffer(i, item.payload) for i, item in enumerate(items)
    ]
    assert batch.descriptors == [item.descriptor for item in items]


def test_a_batch_that_was_not_sent_is_made_again() -> None:
    box = outbox()
    put(box, offers(3))
    assert box.next_batch() == box.next_batch()
    assert (box.queued, box.unanswered) == (3, 0)


def test_batches_are_bounded_by_bytes() -> None:
    box = outbox(batch_bytes=2 + 3 * (8 + 10))
    put(box, offers(7))
    assert send_all(box) == [3, 3, 1]


def test_batches_are_bounded_by_descriptors() -> None:
    box = outbox(batch_descriptors=4)
    put(box, offers(9))
    assert send_all(box) == [4, 4, 1]


def test_the_largest_payload_that_needs_no_memory_file_fits_alone() -> None:
    box = outbox(batch_bytes=1024)
    assert not box.needs_memory(bytes(1014))
    assert box.needs_memory(bytes(1015))
    put(box, [Offer(bytes(1014), 5, 0.0)])
    batch = box.next_batch()
    assert batch is not None
    assert len(batch.message) == 1024


def test_a_batch_has_one_memory_file_at_most() -> None:
    box = outbox(batch_descriptors=4)
    first, second, third, fourth = offers(4)
    box.put(first, 0.0)
    box.put(second, 0.0, memory=50)
    box.put(third, 0.0)
    box.put(fourth, 0.0, memory=51)
    batch = box.next_batch()
    assert batch is not None
    assert batch.descriptors == [100, 101, 50, 102]
    assert decode_offers(batch.message)[1] == MemoryOffer(1, 10)
    assert box.batch_sent(batch) == [50]
    batch = box.next_batch()
    assert batch is not None
    assert batch.descriptors == [103, 51]


def test_a_memory_file_does_not_break_the_bound_of_descriptors() -> None:
    box = outbox(batch_descriptors=2)
    first, second = offers(2)
    box.put(first, 0.0)
    box.put(second, 0.0, memory=50)
    assert send_all(box) == [1, 1]


def test_answers_give_the_offers_back() -> None:
    box, items = outbox(), offers(3)
    put(box, items)
    send_all(box)
    assert box.answered(AcceptedFrame((2, 0))) == [Accepted((items[2], items[0]))]
    denial = DeniedFrame(((1, DenialReason.OVERLOADED),))
    assert box.answered(denial) == [Denied(items[1], DenialReason.OVERLOADED)]
    assert box.unanswered == 0


@pytest.mark.parametrize(
    "frame",
    [
        AcceptedFrame((0, 7)),
        AcceptedFrame((0, 0)),
        DeniedFrame(((0, DenialReason.DRAINING), (0, DenialReason.DRAINING))),
    ],
)
def test_an_answer_to_nothing_changes_nothing(frame: AcceptedFrame | DeniedFrame) -> None:
    box, items = outbox(), offers(2)
    put(box, items)
    send_all(box)
    with pytest.raises(ChannelError):
        box.answered(frame)
    assert set(map(id, box.settle(trusted=True).orphans)) == set(map(id, items))


def test_an_offer_that_was_not_sent_cannot_be_answered() -> None:
    box = outbox()
    put(box, offers(1))
    with pytest.raises(ChannelError):
        box.answered(AcceptedFrame((0,)))
    assert box.queued == 1


def test_credit_is_bounded() -> None:
    box = outbox(credit=WINDOW_MAX)
    put(box, offers(2))
    with pytest.raises(ChannelError):
        box.answered(CreditFrame(1))
    assert box.credit == WINDOW_MAX - 2


def test_the_oldest_unanswered_is_the_first_sent() -> None:
    box = outbox()
    put(box, offers(3))
    assert box.oldest_unanswered() is None
    send_all(box)
    assert box.oldest_unanswered() == 0.0
    box.answered(AcceptedFrame((0,)))
    assert box.oldest_unanswered() == 1.0


def test_ids_wrap_around() -> None:
    box = outbox(credit=3)
    box._next_id = 0xFFFF_FFFF
    put(box, offers(2))
    batch = box.next_batch()
    assert batch is not None
    assert [offer.id for offer in decode_offers(batch.message)] == [0xFFFF_FFFF, 0]


def test_discarded_offers_give_their_credit_back() -> None:
    box, items = outbox(credit=3), offers(3)
    box.put(items[0], 0.0)
    box.put(items[1], 0.0, memory=50)
    box.put(items[2], 0.0)
    assert box.discard([101]) == ([items[1]], [50])
    assert (box.credit, box.queued) == (1, 2)


def test_a_trusted_end_makes_orphans_of_all() -> None:
    box, items = outbox(), offers(3)
    box.put(items[0], 0.0)
    send_all(box)
    box.put(items[1], 0.0)
    box.put(items[2], 0.0, memory=50)
    settlement = box.settle(trusted=True)
    assert settlement.orphans == tuple(items)
    assert settlement.condemned == ()
    assert settlement.memories == (50,)
    assert (box.credit, box.queued, box.unanswered) == (0, 0, 0)


def test_after_a_violation_what_was_sent_is_condemned() -> None:
    box, items = outbox(), offers(2)
    box.put(items[0], 0.0)
    send_all(box)
    box.put(items[1], 0.0)
    settlement = box.settle(trusted=False)
    assert settlement.orphans == (items[1],)
    assert settlement.condemned == (items[0],)


def test_reprs_show_no_payload() -> None:
    assert "secret" not in repr(Offer(b"secret", 1, 0.0))
