"""A tcp route through real processes, and what breaks an established connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.wire import AlertDescription
from tests.e2e.conftest import Authority
from tests.e2e.deployment import LIMIT_S, Vestibule, configuration, eventually
from tests.e2e.raw import RawClient
from tests.peers import free_port

GREETING = b"220 ready\r\n"


class Greeter:
    """A cleartext server that speaks first, then echoes in capitals until the client is done."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(GREETING)
            while data := connection.recv(65536):
                connection.sendall(data.upper())


@pytest.fixture(scope="module")
def tcp(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Vestibule]:
    """Two listeners: one leads to a server that speaks first, one to nobody."""
    directory: Path = tmp_path_factory.mktemp("tcp")
    greeter = Greeter()
    content = configuration(authority.files(), "http://127.0.0.1:1", authority.file)
    entry = content["listeners"][0]["server_names"][0]
    del entry["routes"]
    content["backends"] = {
        "greeter": {"servers": [f"http://127.0.0.1:{greeter.port}"]},
        "nobody": {"servers": [f"http://127.0.0.1:{free_port()}"]},
    }
    entry["tcp"] = {"backend": "greeter"}
    other = {**entry, "names": ["nobody.test"], "default": False, "tcp": {"backend": "nobody"}}
    content["listeners"][0]["server_names"].append(other)
    with Vestibule(directory, content) as vestibule:
        yield vestibule
    greeter.listener.close()


def test_a_server_that_speaks_first_and_a_half_close(tcp: Vestibule, authority: Authority) -> None:
    plain = socket.create_connection(("127.0.0.1", tcp.port), timeout=LIMIT_S)
    with authority.trusting().wrap_socket(plain, server_hostname="localhost") as client:
        assert client.recv(100) == GREETING
        client.sendall(b"hello")
        assert client.recv(100) == b"HELLO"
        client.unwrap().close()
    ended = "vestibule_tcp_connections_total"
    assert eventually(lambda: tcp.metric(ended, backend="greeter", result="ok")) == 1


def test_a_server_that_is_down_ends_the_connection(tcp: Vestibule) -> None:
    with RawClient(tcp.port, name="nobody.test") as client:
        client.greet()
        client.send(client.tls.finish())
        assert client.is_closed()
    ended = "vestibule_tcp_connections_total"
    assert eventually(lambda: tcp.metric(ended, backend="nobody", result="refused")) == 1


@pytest.mark.parametrize("said", ["junk", "an alert"])
def test_a_broken_connection_is_told_why_and_counted(tcp: Vestibule, said: str) -> None:
    failures = "vestibule_tls_failures_total"
    with RawClient(tcp.port) as client:
        client.greet()
        client.send(client.tls.finish())
        assert client.tls.text(client.record()) == GREETING
        if said == "junk":
            client.send(b"\x17\x03\x03\x00\x20" + bytes(32))
            assert client.alert() is AlertDescription.BAD_RECORD_MAC
            labels = {"alert": "bad_record_mac", "reason": "bad_record_mac"}
        else:
            client.send(client.tls.alert(AlertDescription.INTERNAL_ERROR))
            assert client.is_closed()
            labels = {"alert": "none", "reason": "peer_alert"}
    assert eventually(lambda: tcp.metric(failures, **labels)) == 1
