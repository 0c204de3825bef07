"""What does not fit a send buffer waits for room, and nothing else does."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from proxy.front import ListenerSettings
from proxy.tls import Secret
from tests.certs import ThrowAwayCa
from tests.front.site import CA, NAME, REQUEST, Client, Site, reset, settings, site


def _long_chain() -> ListenerSettings:
    """A listener whose flight is more than a small send buffer takes."""
    authority = ThrowAwayCa(issuer=CA, name="x" * 60)
    for _ in range(24):
        authority = ThrowAwayCa(issuer=authority, name="x" * 60)
    issued = authority.issue([NAME])
    base = settings()
    name = base.server_names[0]
    material = replace(name.certificates[0], chain_pem=issued.cert_pem, key=Secret(issued.key_pem))
    return replace(base, server_names=(replace(name, certificates=(material,)),))


async def _reading_slowly(running: Site) -> socket.socket:
    """A client with the smallest receive buffer there is."""
    running.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, running.address)
    return connection


async def test_a_flight_that_the_send_buffer_does_not_take_goes_out_as_it_drains() -> None:
    async with site(_long_chain()) as running:
        outgoing = running.front.handshakes.outgoing
        with await _reading_slowly(running) as connection:
            client = Client(connection)
            connection.send(client.hello())
            await running.until(lambda: len(outgoing))
            connection.send(await client.reply(REQUEST))
            await running.take()
            assert not len(outgoing)


async def test_what_a_client_did_not_read_goes_with_it() -> None:
    async with site(_long_chain()) as running:
        outgoing = running.front.handshakes.outgoing
        connection = await _reading_slowly(running)
        connection.send(Client(connection).hello())
        await running.until(lambda: len(outgoing))
        reset(connection)
        await running.until(lambda: len(running.clients) == 0)
        assert not len(outgoing)


async def test_a_refused_client_that_reads_nothing_is_closed() -> None:
    async with site(_long_chain()) as running:
        with await _reading_slowly(running) as connection:
            connection.send(Client(connection).hello())
            await running.until(lambda: len(running.front.handshakes.outgoing))
            connection.send(b"\x16\x03\x03\x00\x01\0")
            await running.until(lambda: len(running.clients) == 0)
        assert not len(running.front.handshakes.outgoing)
        assert running.count("vestibule_handshake_failures_total") == 1
