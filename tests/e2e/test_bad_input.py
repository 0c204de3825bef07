"""Whatever a client does, and whatever fails inside for it, costs that client alone."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy.wire import ContentType
from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import LIMIT_S, Vestibule, eventually
from tests.e2e.honest import HonestClients
from tests.e2e.injection import ALL, name_for, source_of, write_sitecustomize
from tests.e2e.raw import RawClient

OK = b"HTTP/1.1 200 OK\r\n"
TIMEOUT_S = 1.0
"""For hello and reply here: the shipped defaults are shown where silent clients are counted."""

BUSY = 0.5
"""Of a core: what a process may use while nothing happens. A spinning loop takes all of it."""


@pytest.fixture(scope="module")
def faulty(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, backend: Backend
) -> Iterator[Vestibule]:
    """A proxy whose handlers raise for chosen clients."""
    directory = tmp_path_factory.mktemp("faulty")
    environment = write_sitecustomize(tmp_path_factory.mktemp("site"))
    content = backend.settings(authority, authority.files())
    # Tracebacks are slow to write: no pressure is to come of it, as raw clients know no retry.
    content["listeners"][0]["answer"] = "direct"
    with Vestibule(
        directory, content, environment=environment, may_log_tracebacks=True
    ) as vestibule:
        yield vestibule


def converse(port: int, target: str) -> list[bytes]:
    """A handshake and a request from the target's address; the traffic secrets that came of it.

    Raises TimeoutError where the server leaves the client hanging.
    """
    with RawClient(port, source=source_of(target), name=name_for(target)) as client:
        with contextlib.suppress(ConnectionError):
            client.greet()
            reply = bytearray(client.tls.finish())
            if target.endswith("refuse"):
                reply[-1] ^= 1  # what has to be refused
            client.send(bytes(reply))
            assert not client.request().startswith(OK), f"{target} was not reached"
            drained(client.socket)
        names = ("handshake", "sealer", "opener")
        return [getattr(client.tls, name).secret for name in names if hasattr(client.tls, name)]


def shown(secret: bytes) -> list[str]:
    """The forms in which a log could show it."""
    return [secret.hex(), repr(secret)[2:-1], base64.b64encode(secret).decode().rstrip("=")]


@pytest.mark.patches
@pytest.mark.parametrize("target", ALL)
def test_a_raise_costs_its_client_alone(
    faulty: Vestibule, authority: Authority, target: str
) -> None:
    with HonestClients(faulty.port, authority) as honest, RawClient(faulty.port) as established:
        established.greet()
        established.send(established.tls.finish())
        secrets = [one for _ in range(3) for one in converse(faulty.port, target)]
        assert established.request().startswith(OK)
    assert honest.errors == []
    log = eventually(lambda: faulty.log if f"Injected: {target}" in faulty.log else "")
    assert faulty.connections("front") == 0
    eventually(lambda: faulty.connections("worker") == 0)
    assert faulty.metric("vestibule_handshakes_half_open") == 0
    written = (log + faulty.access_log).replace("\\\\", "\\")  # JSON doubles those of a repr
    assert not any(form in written for secret in secrets for form in shown(secret))


def test_faults_leave_no_process_busy_and_no_descriptor_open(faulty: Vestibule) -> None:
    """After all of the above; both would add up."""
    scrape = faulty.metrics()
    assert scrape.value("vestibule_process_restarts_total") == 0
    descriptors = scrape.by("vestibule_process_open_fds", "role", "slot")
    assert descriptors["front", "0"] < 64
    began, before = time.monotonic(), used(faulty)
    eventually(lambda: time.monotonic() > began + 1)
    took = time.monotonic() - began
    for process, seconds in used(faulty).items():
        assert seconds - before[process] < BUSY * took, process


def used(vestibule: Vestibule) -> dict[tuple[str, ...], float]:
    """CPU seconds by process."""
    scrape = vestibule.metrics()
    return scrape.by("vestibule_process_cpu_seconds_total", "role", "slot")


# --- clients that are slow, or stop -----------------------------------------------------------


@pytest.fixture(scope="module")
def impatient(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, backend: Backend
) -> Iterator[Vestibule]:
    """A proxy that waits a second for each flight."""
    directory = tmp_path_factory.mktemp("impatient")
    timeouts = {"hello_s": TIMEOUT_S, "reply_s": TIMEOUT_S, "handshake_s": 1.5 * TIMEOUT_S}
    content = backend.settings(authority, authority.files(), timeouts=timeouts)
    with Vestibule(directory, content) as vestibule:
        yield vestibule


def no_hello(client: RawClient) -> None:
    """Connected, and that was all."""


def half_a_hello(client: RawClient) -> None:
    """The rest never comes."""
    client.send(client.tls.start()[:50])


def hello_in_drops(client: RawClient) -> None:
    """A byte now and then: each is progress, and still the time is over."""
    drip(client, client.tls.start())


def no_reply(client: RawClient) -> None:
    """Silent after the flight."""
    client.greet()


def reply_in_drops(client: RawClient) -> None:
    """The same with the reply."""
    client.greet()
    drip(client, client.tls.finish())


def half_closed_before_the_hello(client: RawClient) -> None:
    """Nothing will come."""
    client.socket.shutdown(socket.SHUT_WR)


def half_closed_after_the_hello(client: RawClient) -> None:
    """Its FIN may arrive with the hello: it cannot reply any more."""
    client.send(client.tls.start())
    client.socket.shutdown(socket.SHUT_WR)


def reset_after_the_hello(client: RawClient) -> None:
    """Gone while its answer is made or on its way."""
    client.send(client.tls.start())
    client.reset()


def refused_and_silent(client: RawClient) -> None:
    """It has its alert, and does not close."""
    client.greet()
    client.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    client.record()


SLOW: list[Callable[[RawClient], None]] = [
    no_hello, half_a_hello, hello_in_drops, no_reply, reply_in_drops, half_closed_before_the_hello,
    half_closed_after_the_hello, reset_after_the_hello, refused_and_silent,
]  # fmt: skip


def drip(client: RawClient, data: bytes) -> None:
    """One byte each 50 ms, until the server has had enough."""
    client.socket.settimeout(0.05)
    for at in range(len(data)):
        try:
            client.send(data[at : at + 1])
            if client.socket.recv(1) == b"":
                return
        except TimeoutError:
            continue
        except OSError:
            return
    raise AssertionError("the server took all of it")


@pytest.mark.requirement("A43", "A51", "A52", "A54")
@pytest.mark.parametrize("behave", SLOW)
def test_slow_clients_end_on_time(
    impatient: Vestibule, authority: Authority, behave: Callable[[RawClient], None]
) -> None:
    def run(_: int) -> float:
        began = time.monotonic()
        with RawClient(impatient.port) as client:
            behave(client)
            if client.socket.fileno() >= 0:
                client.socket.settimeout(LIMIT_S)
                drained(client.socket)
        return time.monotonic() - began

    with HonestClients(impatient.port, authority) as honest, ThreadPoolExecutor(8) as pool:
        took = list(pool.map(run, range(8)))
    assert honest.errors == []
    assert max(took) < 15 * TIMEOUT_S
    eventually(lambda: impatient.connections("front") == 0)
    assert impatient.metric("vestibule_handshakes_half_open") == 0


def drained(connection: socket.socket) -> None:
    """Read to the server's end."""
    try:
        while connection.recv(65536):
            continue
    except ConnectionError:
        return


# --- bytes that are no TLS --------------------------------------------------------------------

NOISE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "ssl2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0"),
    "zeros": bytes(4096),
    "a hello of no bytes": b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    "a hello longer than may be": b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16380),
    "an empty record": b"\x16\x03\x01\x00\x00",
    "application data": b"\x17\x03\x03\x00\x10" + bytes(16),
    "ccs before any hello": b"\x14\x03\x03\x00\x01\x01",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
}


@pytest.mark.requirement("A6")
@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_answered_by_an_alert_or_an_end(impatient: Vestibule, kind: str) -> None:
    before = impatient.metric("vestibule_handshake_failures_total")
    with RawClient(impatient.port) as client:
        client.send(NOISE[kind])
        answer = b""
        while part := client.socket.recv(65536):
            answer += part
        assert answer == b"" or (answer[0], len(answer)) == (ContentType.ALERT, 7)
    assert impatient.metric("vestibule_handshake_failures_total") == before + 1
    eventually(lambda: impatient.connections("front") == 0)


def test_random_bytes_end_every_connection(impatient: Vestibule, authority: Authority) -> None:
    """In place of each flight, and with the record header that fits the place."""
    with HonestClients(impatient.port, authority) as honest:
        for round_ in range(60):
            noise = os.urandom(1 + round_ * 5)
            with RawClient(impatient.port) as client:
                match round_ % 3:
                    case 0:
                        client.send(noise)
                    case 1:
                        client.send(b"\x16\x03\x01" + len(noise).to_bytes(2) + noise)
                    case _:
                        client.greet()
                        client.send(b"\x17\x03\x03" + len(noise).to_bytes(2) + noise)
                client.socket.shutdown(socket.SHUT_WR)
                drained(client.socket)
    assert honest.errors == []
    eventually(lambda: impatient.connections("front") == 0)
    assert impatient.metric("vestibule_handshakes_half_open") == 0
