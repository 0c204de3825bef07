"""SIGHUP under load: what changes holds for newcomers, and nobody who is there notices."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certs import Issued
from tests.e2e.clients import Client
from tests.e2e.conftest import PAGE, Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.load import ENDED_BETWEEN, Load
from tests.e2e.raw import RawClient
from tests.peers import Nginx, free_port

pytestmark = pytest.mark.requirement("A23")

CLIENTS = 20


def der(issued: Issued) -> bytes:
    """A leaf as clients see it."""
    return x509.load_pem_x509_certificate(issued.cert_pem).public_bytes(Encoding.DER)


@pytest.fixture
def first(tmp_path: Path, authority: Authority) -> Issued:
    """The certificate in the proxy's files at its start."""
    issued = authority.issue(["localhost"])
    issued.write(tmp_path)
    return issued


@pytest.fixture
async def proxy(
    tmp_path: Path, authority: Authority, backend: Backend, first: Issued
) -> AsyncIterator[Vestibule]:
    """A proxy whose certificate files are its own."""
    vestibule = Vestibule(tmp_path, backend.settings(authority, first.write(tmp_path)))
    await asyncio.to_thread(vestibule.__enter__)
    try:
        yield vestibule
    finally:
        await asyncio.to_thread(vestibule.__exit__, None, None, None)


async def reload(proxy: Vestibule, *, successes: int = 0, failures: int = 0) -> None:
    """SIGHUP, and wait until so many reloads have succeeded or failed."""
    proxy.signal(signal.SIGHUP)

    def done() -> bool:
        name, scrape = "vestibule_configuration_reloads_total", proxy.metrics()
        return (
            scrape.value(name, result="success") == successes
            and scrape.value(name, result="failure") == failures
        )

    await asyncio.to_thread(eventually, done)


async def test_newcomers_see_the_new_certificate(
    tmp_path: Path, proxy: Vestibule, authority: Authority, first: Issued
) -> None:
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        assert load.certificate == der(first)
        second = authority.issue(["localhost"], key="rsa-2048")
        second.write(tmp_path)
        await reload(proxy, successes=1)
        await load.progress()
        assert load.certificate == der(second)
        assert all(member.client.certificate == der(first) for member in load.members)
        assert load.lost + load.refused == []
    status = await asyncio.to_thread(proxy.status)
    assert status["generation"] == 2
    assert {one["generation"] for one in status["processes"]} == {2}


@pytest.mark.parametrize("fault", ["syntax", "unknown key", "key of another certificate"])
async def test_a_bad_file_keeps_what_serves(
    tmp_path: Path, proxy: Vestibule, authority: Authority, first: Issued, fault: str
) -> None:
    good = proxy.content
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        match fault:
            case "syntax":
                proxy.config_file.write_text("listeners: [\n")
            case "unknown key":
                proxy.write({**good, "listenrs": []})
            case _:
                (tmp_path / "server.key").write_bytes(authority.issue(["localhost"]).key_pem)
        await reload(proxy, failures=1)
        await load.progress()
        assert load.certificate == der(first)
        status = await asyncio.to_thread(proxy.status)
        assert not status["last_reload"]["success"]
        assert f"{proxy.config_file}:" in status["last_reload"]["error"]
        # Mended, it is taken.
        first.write(tmp_path)
        proxy.write(good)
        await reload(proxy, successes=1, failures=1)
        await load.progress()
        assert load.lost + load.refused == []


async def test_a_changed_backend_serves_newcomers_and_those_who_stay(
    tmp_path: Path, proxy: Vestibule, authority: Authority
) -> None:
    context = authority.trusting()
    content = copy.deepcopy(proxy.content)
    page = 'location / { return 200 "another"; }'
    with Nginx(tmp_path, certificate=authority.issue(["localhost"]), locations=page) as other:
        async with Client(proxy.port, context) as staying:
            assert await staying.get() == (200, PAGE.encode())
            content["backends"]["app"]["servers"] = [other.url]
            proxy.write(content)
            await reload(proxy, successes=1)
            async with Client(proxy.port, context) as newcomer:
                assert await newcomer.get() == (200, b"another")
            # The generation that it came with lives until it leaves.
            assert await staying.get() == (200, PAGE.encode())


async def test_processes_and_addresses_change(
    proxy: Vestibule, authority: Authority, tmp_path: Path
) -> None:
    """More processes and another port, then back; a client of a process that goes is closed
    between two answers."""
    few = {**copy.deepcopy(proxy.content), "processes": {"fronts": 1, "workers": 1}}
    many = {**copy.deepcopy(proxy.content), "processes": {"fronts": 2, "workers": 3}}
    port = free_port()
    many["listeners"][0]["bind"].append(f"127.0.0.1:{port}")
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        proxy.write(many)
        await reload(proxy, successes=1)

        def counts() -> tuple[int, int]:
            status = proxy.status()["processes"]
            serving = [one["role"] for one in status if one["state"] == "serving"]
            return serving.count("front"), serving.count("worker")

        await asyncio.to_thread(eventually, lambda: counts() == (2, 3))
        async with Client(port, authority.trusting()) as elsewhere:
            assert await elsewhere.get() == (200, PAGE.encode())
            await load.progress()
            proxy.write(few)
            await reload(proxy, successes=2)
            await load.progress()
        assert load.refused == []
        assert [one for one in load.lost if not ENDED_BETWEEN.search(one.error or "")] == []


@pytest.mark.parametrize("worker_dies", [False, True])
async def test_a_handshake_stays_with_the_name_it_was_answered_for(
    tmp_path: Path, proxy: Vestibule, authority: Authority, backend: Backend, worker_dies: bool
) -> None:
    """Entries change places while a client thinks about its reply; a worker that has not seen
    the former configuration must not take the entry's number for another name's."""
    content = {**copy.deepcopy(proxy.content), "processes": {"workers": 1}}
    page = 'location / { return 200 "not for everybody"; }'
    with Nginx(tmp_path, certificate=authority.issue(["localhost"]), locations=page) as other:
        content["backends"]["other"] = {**content["backends"]["app"], "servers": [other.url]}
        names = content["listeners"][0]["server_names"]
        hidden = {"names": ["hidden.test"], "default": False, "routes": [{"backend": "other"}]}
        names.append({**names[0], **hidden})
        proxy.write(content)
        await reload(proxy, successes=1)
        with await asyncio.to_thread(lambda: RawClient(proxy.port).greet()) as client:
            names.reverse()
            proxy.write(content)
            await reload(proxy, successes=2)
            if worker_dies:
                (pid,) = await asyncio.to_thread(proxy.pids, "worker")
                os.kill(pid, signal.SIGKILL)
                restarts = "vestibule_process_restarts_total"
                await asyncio.to_thread(eventually, lambda: proxy.metric(restarts) == 1)
                await asyncio.to_thread(eventually, lambda: proxy.status()["ready"])
            client.send(client.tls.finish())
            if worker_dies:
                assert await asyncio.to_thread(client.is_closed)
                denied = await asyncio.to_thread(
                    proxy.metric, "vestibule_handoffs_total", result="unknown_generation"
                )
                assert denied == 1
            else:
                assert PAGE.encode() in await asyncio.to_thread(client.request)


async def test_a_log_that_cannot_be_opened_keeps_what_serves(
    tmp_path: Path, proxy: Vestibule, authority: Authority
) -> None:
    good = proxy.content
    pids = await asyncio.to_thread(proxy.all_pids)
    async with Load(proxy.port, authority.trusting(), CLIENTS) as load:
        await load.progress()
        proxy.write({**good, "logging": {"file": str(tmp_path / "missing" / "vestibule.log")}})
        await reload(proxy, failures=1)
        await load.progress()
        status = await asyncio.to_thread(proxy.status)
        assert "No such file" in status["last_reload"]["error"]
        assert {one["generation"] for one in status["processes"]} == {1}
        proxy.write({**good, "logging": {"access_file": str(tmp_path / "missing" / "access.log")}})
        await reload(proxy, failures=2)
        # Once there is a place for it, it is taken.
        (tmp_path / "missing").mkdir()
        await reload(proxy, successes=1, failures=2)
        await load.progress()
        assert load.lost + load.refused == []
    assert await asyncio.to_thread(proxy.all_pids) == pids
    assert (tmp_path / "missing" / "access.log").read_text()
