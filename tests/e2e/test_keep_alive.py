"""Thousands of clients at once, each of which keeps its connection and sees no error."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.clients import Client, ClientError
from tests.e2e.conftest import PAGE, Authority, Report
from tests.e2e.deployment import Vestibule

CLIENTS = 2000
ROUNDS = 3
_CONNECTING = 100
"""Handshakes that the test's own process has under way at once."""


async def connected(clients: list[Client]) -> None:
    """Connect all of them."""
    gate = asyncio.Semaphore(_CONNECTING)

    async def connect(client: Client) -> None:
        async with gate:
            await client.connect()

    await asyncio.gather(*(connect(client) for client in clients))


@pytest.mark.requirement("A1", "A42")
async def test_clients_keep_their_connections(
    vestibule: Vestibule, authority: Authority, report: Report
) -> None:
    context = authority.trusting()
    clients = [Client(vestibule.port, context) for _ in range(CLIENTS)]
    errors: list[str] = []

    async def ask(client: Client) -> None:
        try:
            assert await client.get() == (200, PAGE.encode())
        except ClientError as error:
            errors.append(str(error))

    try:
        began = time.monotonic()
        await connected(clients)
        connected_s = time.monotonic() - began
        held = await asyncio.to_thread(vestibule.connections, "worker")
        began = time.monotonic()
        for _ in range(ROUNDS):
            await asyncio.gather(*(ask(client) for client in clients))
        asked_s = time.monotonic() - began
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    assert held == CLIENTS
    assert errors == []
    report(
        "keep-alive clients at once",
        clients=CLIENTS,
        requests=ROUNDS * CLIENTS,
        errors=len(errors),
        handshakes_s=round(connected_s, 2),
        requests_s=round(asked_s, 2),
    )
