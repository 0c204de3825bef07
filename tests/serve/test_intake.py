"""Offers become this worker's connections only after the front has been told."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from proxy.handoff import (
    Accepted,
    Capsule,
    ChannelSettings,
    Closed,
    DenialReason,
    Denied,
    Offer,
    Source,
    SourceEvent,
    channel_pair,
    encode_capsule,
)
from proxy.serve import Arrival, Intake
from tests.handoff.test_capsule import ESTABLISHED

SETTINGS = ChannelSettings(window=8)
PEER = ("front", 0)
PAYLOAD = encode_capsule(Capsule(1, ESTABLISHED))


class Worker:
    """An intake with what it served."""

    def __init__(self) -> None:
        self.served: list[Arrival] = []
        self.denial: DenialReason | None = None
        self.failing = False
        self.broken = False
        self.intake = Intake(self._check, self._serve, SETTINGS)

    def _serve(self, arrival: Arrival) -> None:
        if self.broken:
            raise RuntimeError("injected")
        self.served.append(arrival)

    def _check(self, capsule: Capsule) -> DenialReason | None:
        if self.failing:
            raise RuntimeError("injected")
        return self.denial


async def _events(source: Source, wanted: int = 1) -> list[SourceEvent]:
    """What the worker answers, credit aside."""
    found: list[SourceEvent] = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while len(found) < wanted:
            ready = asyncio.Event()
            loop.add_reader(source.fileno(), ready.set)
            await ready.wait()
            loop.remove_reader(source.fileno())
            found += [e for e in source.receive() if isinstance(e, (Accepted, Denied, Closed))]
    return found


def _attached(worker: Worker, peer: tuple[str, int] = PEER) -> Source:
    ours, theirs = channel_pair()
    worker.intake.attach(peer, theirs.detach())
    source = Source(ours, SETTINGS)
    source.receive()
    return source


def _offer(source: Source, payload: bytes = PAYLOAD) -> socket.socket:
    client, ours = socket.socketpair()
    source.offer(Offer(payload, ours.detach(), 0.0), 0.0)
    assert source.flush()
    return client


@pytest.mark.requirement("A35", "A42")
async def test_an_offer_is_accepted_and_served() -> None:
    worker = Worker()
    source = _attached(worker)
    with _offer(source) as client:
        (event,) = await _events(source)
        assert isinstance(event, Accepted)
        (arrival,) = worker.served
        os.write(arrival.descriptor, b"served")
        assert client.recv(6) == b"served"
        for descriptor in (arrival.descriptor, event.offers[0].descriptor):
            os.close(descriptor)
    worker.intake.close()
    source.close()


@pytest.mark.parametrize("case", ["unreadable", "refused", "draining"])
async def test_what_cannot_be_served_stays_the_fronts(case: str) -> None:
    worker = Worker()
    source = _attached(worker)
    payload = b"\0" + PAYLOAD[1:] if case == "unreadable" else PAYLOAD
    if case == "refused":
        worker.denial = DenialReason.OVERLOADED
    if case == "draining":
        worker.intake.drain()
    with _offer(source, payload) as client:
        (event,) = await _events(source)
        assert isinstance(event, Denied)
        expected = {
            "unreadable": DenialReason.UNREADABLE,
            "refused": DenialReason.OVERLOADED,
            "draining": DenialReason.DRAINING,
        }
        assert event.reason is expected[case]
        assert worker.served == []
        os.write(event.offer.descriptor, b"still here")
        assert client.recv(10) == b"still here"
        os.close(event.offer.descriptor)
    worker.intake.close()
    source.close()


async def test_a_bug_in_checking_costs_that_connection_alone() -> None:
    worker = Worker()
    worker.failing = True
    source = _attached(worker)
    with _offer(source):
        (event,) = await _events(source)
        assert isinstance(event, Denied)
        os.close(event.offer.descriptor)
    worker.failing = False
    with _offer(source):
        (event,) = await _events(source)
        assert isinstance(event, Accepted)
        os.close(event.offers[0].descriptor)
        os.close(worker.served[0].descriptor)
    worker.intake.close()
    source.close()


async def test_a_bug_in_serving_closes_that_connection_alone() -> None:
    worker = Worker()
    worker.broken = True
    source = _attached(worker)
    with _offer(source) as client:
        (event,) = await _events(source)
        assert isinstance(event, Accepted)
        os.close(event.offers[0].descriptor)
        assert client.recv(1) == b""
    worker.broken = False
    with _offer(source):
        (event,) = await _events(source)
        assert isinstance(event, Accepted)
        os.close(event.offers[0].descriptor)
        os.close(worker.served[0].descriptor)
    worker.intake.close()
    source.close()


async def test_a_later_incarnation_of_a_front_replaces_the_earlier_one() -> None:
    worker = Worker()
    first = _attached(worker)
    second = _attached(worker)
    (event,) = await _events(first)
    assert isinstance(event, Closed)
    with _offer(second):
        (event,) = await _events(second)
        assert isinstance(event, Accepted)
        os.close(event.offers[0].descriptor)
        os.close(worker.served[0].descriptor)
    worker.intake.close()
    first.close()
    second.close()


async def test_a_full_worker_takes_what_it_gave_credit_for_and_no_more() -> None:
    worker = Worker()
    source = _attached(worker)
    worker.intake.hold(True)
    clients = [_offer(source) for _ in range(SETTINGS.window)]
    accepted: list[Offer] = []
    while len(accepted) < SETTINGS.window:
        for event in await _events(source):
            assert isinstance(event, Accepted)
            accepted += event.offers
    assert source.credit == 0
    worker.intake.refresh()
    late = _attached(worker, ("front", 1))
    assert (source.receive(), source.credit, late.credit) == ([], 0, 0)
    worker.intake.hold(False)
    late.receive()
    assert late.credit == SETTINGS.window
    for client in clients:
        client.close()
    for descriptor in (
        *(arrival.descriptor for arrival in worker.served),
        *(offer.descriptor for offer in accepted),
    ):
        os.close(descriptor)
    worker.intake.close()
    source.close()
    late.close()
