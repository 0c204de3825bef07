"""The front's role in this process: what a generation does to sockets and time limits."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from proxy.app.front_role import FrontRole
from proxy.app.messages import ListenerSocket
from proxy.config import SnapshotError, front_snapshot
from tests.config.site import BASE, Site, authority, issued

BIND = "127.0.0.1:8443"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A directory with a good certificate for example.org."""
    made = Site(tmp_path)
    made.certificate("example.org", issued())
    return made


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A role sets up the logs of its process, which is ours."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    logging.root.handlers[:], logging.root.level = handlers, level


def listening() -> tuple[socket.socket, ListenerSocket]:
    """A listening socket, and a descriptor of it for the role."""
    ours = socket.create_server(("127.0.0.1", 0))
    return ours, ListenerSocket("public", BIND, os.dup(ours.fileno()))


async def test_a_refused_generation_leaves_no_listening_socket() -> None:
    role = FrontRole(0)
    ours, item = listening()
    with ours, pytest.raises(SnapshotError):
        role.prepare(1, b"no snapshot", [item])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(item.descriptor)
    await role.drain(0)


async def test_a_reply_waits_for_a_worker_as_long_as_configured(site: Site) -> None:
    loop = asyncio.get_running_loop()
    role = FrontRole(0)
    ours, item = listening()
    with ours:
        configuration = site.load(BASE + "timeouts: {handoff_s: 0.3}\n")
        role.prepare(1, front_snapshot(configuration), [item])
        role.commit(1)
        context = ssl.create_default_context(cadata=authority().pem.decode())
        began = loop.time()
        reader, writer = await asyncio.open_connection(
            *ours.getsockname(), ssl=context, server_hostname="example.org"
        )
        with pytest.raises((ConnectionError, ssl.SSLError)):
            # There is no worker: the default would be 5 s.
            assert await asyncio.wait_for(reader.read(), 3) == b""
            raise ConnectionResetError
        assert loop.time() - began >= 0.3
        writer.transport.abort()
        await role.drain(1)
