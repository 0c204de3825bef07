"""A connection's identity is its socket's own."""

import socket
from pathlib import Path

import pytest

from proxy.front import Family, FiveTuples
from proxy.front.five_tuple import SocketTuples


def _accepted(
    listener: socket.socket, target: tuple[str, int] | str
) -> tuple[socket.socket, socket.socket, object]:
    client = socket.socket(listener.family)
    client.connect(target)
    accepted, peer = listener.accept()
    return client, accepted, peer


@pytest.mark.requirement("A7", "A61")
@pytest.mark.parametrize(
    ("family", "kind", "bound", "target"),
    [
        (socket.AF_INET, Family.INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, Family.INET, "0.0.0.0", "127.0.0.2"),
        (socket.AF_INET6, Family.INET6, "::1", "::1"),
        (socket.AF_INET6, Family.INET6, "::", "::1"),
    ],
)
def test_protocol_both_addresses_and_both_ports(
    family: socket.AddressFamily, kind: Family, bound: str, target: str
) -> None:
    with socket.create_server((bound, 0), family=family) as listener:
        port = listener.getsockname()[1]
        client, accepted, peer = _accepted(listener, (target, port))
        with client, accepted:
            key = FiveTuples(kind, listener).of(accepted.fileno(), peer)
            # The same from the socket alone, and where nothing of its listener is known.
            assert FiveTuples(kind, listener).of(accepted.fileno()) == key
            assert SocketTuples().of(accepted.fileno()) == key
            source = client.getsockname()
            expected = (
                socket.inet_pton(family, source[0])
                + source[1].to_bytes(2)
                + socket.inet_pton(family, target)
                + port.to_bytes(2)
            )
            assert key[1:] == expected
            assert key[0] in (4, 6)


def test_unix_connections_are_counted(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        client, accepted, peer = _accepted(listener, str(tmp_path / "s"))
        with client, accepted:
            # Two sockets of one listener share a handshake table: their keys must not meet.
            both = [FiveTuples(Family.UNIX, listener) for _ in range(2)]
            keys = {tuples.of(accepted.fileno(), peer) for tuples in both * 2}
            assert len(keys) == 4


def test_a_closed_descriptor_is_an_error_and_not_a_key() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        client, accepted, peer = _accepted(listener, ("127.0.0.1", listener.getsockname()[1]))
        number = accepted.fileno()
        accepted.close()
        client.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            FiveTuples(Family.INET, listener).of(number, peer)
