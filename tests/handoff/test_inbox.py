"""The receiving end's state."""

from __future__ import annotations

import pytest

from proxy.handoff.errors import ChannelError, Misuse
from proxy.handoff.events import DenialReason
from proxy.handoff.frames import AcceptedFrame, CreditFrame, DeniedFrame, decode_answers
from proxy.handoff.inbox import Inbox


def inbox(window: int = 10) -> Inbox:
    box = Inbox(window)
    box.answers_sent(box.grantable())
    return box


def test_it_grants_its_window_once() -> None:
    box = Inbox(10)
    assert box.grantable() == 10
    assert decode_answers(box.answers(10)) == [CreditFrame(10)]
    box.answers_sent(10)
    assert (box.credit, box.grantable(), box.answers(0)) == (10, 0, b"")


def test_an_answer_makes_room_for_credit_in_the_same_message() -> None:
    box = inbox(3)
    box.arrived([1, 2, 3], [11, 12, 13])
    assert box.grantable() == 0
    box.accept([1, 3])
    assert box.deny(2, DenialReason.OVERLOADED) == 12
    assert box.grantable() == 3
    assert decode_answers(box.answers(3)) == [
        AcceptedFrame((1, 3)),
        DeniedFrame(((2, DenialReason.OVERLOADED),)),
        CreditFrame(3),
    ]
    assert box.answers_sent(3) == (1, 3)
    assert box.answers(0) == b""


def test_an_answer_not_sent_stays_due() -> None:
    box = inbox()
    box.arrived([1], [11])
    box.accept([1])
    assert box.answers(1) == box.answers(1) != b""


def test_more_offers_than_credit_are_a_violation() -> None:
    box = inbox(1)
    with pytest.raises(ChannelError, match="2 offers for 1 credits"):
        box.arrived([1, 2], [11, 12])
    assert box.unanswered == ()


@pytest.mark.parametrize("ids", [[1], [5, 5]])
@pytest.mark.parametrize("answer", ["none", "accepted", "denied"])
def test_an_id_in_use_is_a_violation(ids: list[int], answer: str) -> None:
    box = inbox()
    box.arrived([1], [11])
    if answer == "accepted":
        box.accept([1])
    elif answer == "denied":
        box.deny(1, DenialReason.OVERLOADED)
    with pytest.raises(ChannelError):
        box.arrived(ids, list(range(len(ids))))


def test_an_id_is_free_again_once_its_answer_is_out() -> None:
    box = inbox()
    box.arrived([1], [11])
    box.accept([1])
    box.answers_sent(0)
    box.arrived([1], [11])
    assert box.unanswered == (1,)


def test_only_what_waits_can_be_answered() -> None:
    box = inbox()
    box.arrived([1, 2], [11, 12])
    box.accept([1])
    with pytest.raises(Misuse):
        box.accept([2, 1])
    assert box.unanswered == (2,)
    assert decode_answers(box.answers(0)) == [AcceptedFrame((1,))]
    with pytest.raises(Misuse):
        box.deny(1, DenialReason.OVERLOADED)
    with pytest.raises(Misuse):
        box.deny(2, DenialReason.EXPIRED)


def test_a_truncated_batch_is_denied_whole() -> None:
    box = inbox(4)
    box.truncated([1, 2])
    reason = DenialReason.DESCRIPTORS
    assert decode_answers(box.answers(0)) == [DeniedFrame(((1, reason), (2, reason)))]
    assert box.settle() == ((), ())


def test_a_smaller_window_takes_no_credit_back() -> None:
    box = inbox(4)
    box.window = 0
    assert (box.credit, box.grantable()) == (4, 0)
    box.arrived([1, 2, 3, 4], [11, 12, 13, 14])
    box.accept([1, 2, 3, 4])
    assert box.grantable() == 0
    with pytest.raises(Misuse):
        box.window = -1


def test_acceptances_that_did_not_go_out_can_be_withdrawn() -> None:
    box = inbox()
    box.arrived([1, 2], [11, 12])
    box.accept([1])
    assert box.withdraw() == (1,)
    assert decode_answers(box.answers(0)) == [DeniedFrame(((1, DenialReason.DRAINING),))]
    assert box.settle() == ((), (12,))


def test_the_end_revokes_acceptances_that_did_not_go_out() -> None:
    box = inbox()
    box.arrived([1, 2, 3], [11, 12, 13])
    box.accept([1])
    box.answers_sent(0)
    box.accept([2])
    assert box.settle() == ((2,), (13,))
