"""Nobody behind the front hears of a client before its Finished has verified.

Seen from behind: nginx counts the TCP connections that it accepts, the front what it hands over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.wire import AlertDescription, ContentType
from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.raw import REQUEST, RawClient

CCS = b"\x14\x03\x03\x00\x01\x01"
BAD_CERTIFICATE = b"\x02\x2a"  # fatal


@pytest.fixture
def proxy(tmp_path: Path, authority: Authority, backend: Backend) -> Iterator[Vestibule]:
    """A proxy that has never dialled its backend."""
    with Vestibule(tmp_path, backend.settings(authority, authority.files())) as vestibule:
        yield vestibule


def bad_finished(client: RawClient) -> None:
    """A Finished that is sealed as it should be and has one wrong bit."""
    message = bytearray(client.tls.finished())
    message[-1] ^= 1
    client.send(CCS + client.tls.handshake.seal(ContentType.HANDSHAKE, bytes(message)))
    assert client.alert() == AlertDescription.DECRYPT_ERROR


def bad_record(client: RawClient) -> None:
    """The right Finished in a record that was changed on its way."""
    record = bytearray(client.tls.finish())
    record[-1] ^= 1
    client.send(bytes(record))
    assert client.alert() == AlertDescription.BAD_RECORD_MAC


def request_without_finished(client: RawClient) -> None:
    """Application data under the right keys, too early."""
    client.send(client.tls.send(REQUEST))
    assert client.alert() == AlertDescription.BAD_RECORD_MAC


def alert(client: RawClient) -> None:
    """A client that does not like the certificate."""
    client.send(CCS + client.tls.handshake.seal(ContentType.ALERT, BAD_CERTIFICATE))
    assert client.is_closed()


def alert_in_clear(client: RawClient) -> None:
    """The same from one that has no keys."""
    client.send(b"\x15\x03\x03\x00\x02" + BAD_CERTIFICATE)
    assert client.is_closed()


def close(client: RawClient) -> None:
    """A client that leaves."""
    client.close()


def reset(client: RawClient) -> None:
    """One whose end is not even clean."""
    client.send(CCS)
    client.reset()


ENDED: list[Callable[[RawClient], None]] = [
    bad_finished, bad_record, request_without_finished, alert, alert_in_clear, close, reset,
]  # fmt: skip


def silence(client: RawClient) -> bytes:
    """Nothing; the whole reply is what is missing."""
    return client.tls.finish()


def ccs_only(client: RawClient) -> bytes:
    """What comes before the reply."""
    client.send(CCS)
    return client.tls.finish()


def half_a_record(client: RawClient) -> bytes:
    """Finished but for its last byte."""
    record = client.tls.finish()
    client.send(record[:-1])
    return record[-1:]


def half_a_message(client: RawClient) -> bytes:
    """Finished in two records, of which one comes."""
    message, seal = client.tls.finished(), client.tls.handshake.seal
    client.send(seal(ContentType.HANDSHAKE, message[:9]))
    return seal(ContentType.HANDSHAKE, message[9:])


WAITING: list[Callable[[RawClient], bytes]] = [silence, ccs_only, half_a_record, half_a_message]


@pytest.mark.requirement("A32", "A33", "A34", "A35", "A36", "A39", "A43")
def test_no_backend_connection_before_finished(proxy: Vestibule, backend: Backend) -> None:
    accepted = backend.accepted()
    with contextlib.ExitStack() as stack:

        def greeted() -> RawClient:
            return stack.enter_context(RawClient(proxy.port)).greet()

        for misbehave in ENDED:
            misbehave(greeted())
        waiting = [
            (client, start(client)) for client, start in ((greeted(), one) for one in WAITING)
        ]
        # The front has heard everything once it counts those that left and those that are left.
        eventually(lambda: failures(proxy) == len(ENDED))
        eventually(lambda: proxy.metric("vestibule_handshakes_half_open") == len(WAITING))
        assert backend.accepted() == accepted
        assert proxy.metric("vestibule_handoffs_total") == 0
        assert proxy.connections("worker") == 0

        honest = greeted()
        honest.send(honest.tls.finish())
        assert honest.request().startswith(b"HTTP/1.1 200 OK\r\n")
        assert backend.accepted() == accepted + 1
        # A handshake that was only slow is as good as any.
        for client, rest in waiting:
            client.send(rest)
            assert client.request().startswith(b"HTTP/1.1 200 OK\r\n")
        assert proxy.metric("vestibule_handoffs_total", result="accepted") == 1 + len(waiting)
        assert proxy.metric("vestibule_handshakes_half_open") == 0


def failures(proxy: Vestibule) -> float:
    """Handshakes that ended without Finished."""
    return proxy.metric("vestibule_handshake_failures_total")


@pytest.mark.requirement("A3")
def test_a_hello_and_a_reply_in_single_bytes(proxy: Vestibule) -> None:
    """Each byte in a segment of its own: nothing is answered before it is whole."""
    with RawClient(proxy.port) as client:
        hello = client.tls.start()
        for at in range(len(hello) - 1):
            client.send(hello[at : at + 1])
        assert proxy.metric("vestibule_hellos_total") == 0
        client.send(hello[-1:])
        client.take_flight()
        reply = client.tls.finish()
        for at in range(len(reply)):
            client.send(reply[at : at + 1])
        assert client.request().startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.requirement("A35")
def test_the_request_may_come_with_finished(proxy: Vestibule) -> None:
    with RawClient(proxy.port) as client:
        client.greet()
        request = client.tls.send(REQUEST)
        client.send(CCS + client.tls.finish() + request[:20])
        client.send(request[20:])
        assert client.tls.text(client.record()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.requirement("A62")
def test_clients_reach_the_servers_only_through_the_front(proxy: Vestibule) -> None:
    if os.geteuid() != 0:
        pytest.skip("descriptors of processes that hold keys are for root to see")
    for pid in proxy.pids("worker"):
        assert listening(pid) == []
    (front,) = proxy.pids("front")
    assert [port for _, port in listening(front)] == [proxy.port]


def listening(pid: int) -> list[tuple[str, int]]:
    """Kind and port of the listening sockets of a process; UNIX ones have the port 0."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = []
    for kind in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.append((kind, int(fields[1].rpartition(":")[2], 16)))
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "00010000" and fields[6] in inodes:  # __SO_ACCEPTCON
            found.append(("unix", 0))
    return found
