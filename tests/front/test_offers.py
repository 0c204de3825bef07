"""Clients on offer: who waits, who is told that nobody takes it, and what a channel's end is."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import replace

import pytest

from proxy.front import Stage, offers
from proxy.handoff import ChannelSettings, DenialReason, Source, channel_pair
from proxy.wire import AlertDescription, alert_record
from tests.front.site import Client, Site, ending, keyless, settings, site

HANDOFFS = "vestibule_handoffs_total"
INTERNAL_ERROR = alert_record(AlertDescription.INTERNAL_ERROR)


async def test_replies_wait_for_credit_and_are_dropped_when_no_worker_comes() -> None:
    async with site(channel=ChannelSettings(window=1)) as running:
        bounds = running.dispatcher.settings
        running.dispatcher.settings = replace(bounds, waiting_timeout_s=0.2)
        asyncio.get_running_loop().remove_reader(running.sink.fileno())
        first, second = await running.connect(), await running.connect()
        with first, second:
            await Client(first).handshake()
            await Client(second).handshake()
            await running.until(lambda: running.dispatcher.waiting == 1)
            assert running.clients.stage(running.clients.known()[0]) == Stage.OFFERED
            running.sink.close()
            await ending(second)
            await running.until(lambda: len(running.clients) == 0)


async def test_the_end_of_a_channel_is_told() -> None:
    async with site() as running:
        ours, theirs = channel_pair()
        lost = asyncio.Event()
        running.front.attach(Source(ours, ChannelSettings()), lost.set)
        assert not lost.is_set()
        theirs.close()
        await asyncio.wait_for(lost.wait(), 10)
        await running.serves()


def _deny(running: Site, why: str) -> None:
    """Make it so that nobody takes the next client."""
    bounds = running.dispatcher.settings
    match why:
        case "unreadable":
            running.denying = DenialReason.UNREADABLE
        case "queue_full":
            running.dispatcher.settings = replace(bounds, waiting_max=0)
        case "expired":
            running.dispatcher.settings = replace(bounds, waiting_timeout_s=0.0)
    if why != "unreadable":
        asyncio.get_running_loop().remove_reader(running.sink.fileno())
        running.sink.close()


@pytest.mark.requirement("A40")
@pytest.mark.parametrize("why", ["unreadable", "queue_full", "expired"])
async def test_who_was_only_retried_is_told_that_nobody_takes_it(why: str) -> None:
    async with site(keyless()) as running:
        client, second = await running.ask()
        _deny(running, why)
        with client.connection as connection:
            await running.until(lambda: why == "unreadable" or not running.dispatcher.sources)
            connection.send(second)
            assert await ending(connection) == INTERNAL_ERROR
        await running.until(lambda: running.count(HANDOFFS, why) == 1)
        assert len(running.clients) == 0


@pytest.mark.parametrize("why", ["unreadable", "queue_full", "expired"])
async def test_who_has_replied_is_told_nothing_in_clear(why: str) -> None:
    """Its keys are gone with the capsule, and an alert in clear would be no alert to it."""
    async with site() as running:
        with await running.connect() as connection:
            client = Client(connection)
            connection.send(client.hello())
            finished = await client.reply()
            _deny(running, why)
            await running.until(lambda: why == "unreadable" or not running.dispatcher.sources)
            connection.send(finished)
            assert await ending(connection) == b""
        assert running.count(HANDOFFS, why) == 1
        assert len(running.clients) == 0


async def _denied_with_this_number(running: Site, number: int) -> bytes:
    """What a client is told that has its flight, whom nobody takes, and whose number this is."""
    running.answer(settings())
    running.denying = DenialReason.UNREADABLE
    taken: list[int] = []
    while not taken or taken[-1] < number:
        taken.append(os.dup(0))
    assert taken.pop() == number
    with socket.socket() as connection:
        connection.setblocking(False)
        os.close(number)
        await asyncio.get_running_loop().sock_connect(connection, running.address)
        await running.until(lambda: running.clients.known() == [number])
        await Client(connection).handshake()
        told = await ending(connection)
    for descriptor in taken:
        os.close(descriptor)
    return told


async def test_a_number_whose_loan_is_over_is_owed_no_alert() -> None:
    async with site(keyless()) as running:
        client, second = await running.ask()
        (number,) = running.clients.known()
        client.connection.send(second)
        await running.take()
        await running.until(lambda: len(running.clients) == 0)
        client.connection.close()
        assert await _denied_with_this_number(running, number) == b""


async def test_who_cannot_be_offered_costs_itself_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> bytes:
        raise RuntimeError("injected")

    async with site(keyless()) as running:
        client, second = await running.ask()
        (number,) = running.clients.known()
        with client.connection as connection, monkeypatch.context() as patch:
            patch.setattr(offers, "encode_capsule", broken)
            connection.send(second)
            assert await ending(connection) == b""
        assert running.count("vestibule_handshake_failures_total", "offered") == 1
        assert await _denied_with_this_number(running, number) == b""
