"""A connection moved as a value: nothing is lost, and the source can do nothing any more."""

import gc
from dataclasses import replace

import pytest

from proxy.tls import (
    ApplicationData,
    CloseNotify,
    Connection,
    Established,
    Event,
    Misuse,
    PeerMisbehaved,
    Reason,
    decode_context,
    encode_context,
)
from tests.tls.client import key_update
from tests.tls.states import connected
from tests.tls.test_connection import HANDSHAKE, UPDATE, text


def moved(connection: Connection) -> Connection:
    context = decode_context(encode_context(connection.export()))
    assert isinstance(context, Established)
    return Connection(context)


@pytest.mark.requirement("A35", "A42")
def test_export_takes_every_right_away() -> None:
    client, connection = connected()
    data = client.send(b"data")
    connection.export()
    for use in (
        lambda: connection.receive(data),
        lambda: connection.receive(b""),
        lambda: connection.send(b""),
        lambda: connection.send_into(memoryview(b""), memoryview(bytearray())),
        lambda: connection.receive_into(memoryview(data), memoryview(bytearray(100))),
        connection.data_to_send,
        connection.close,
        lambda: connection.alert(PeerMisbehaved(Reason.BAD_ALERT)),
        connection.export,
    ):
        with pytest.raises(Misuse, match="exported"):
            use()
    held = gc.get_referents(connection)
    assert held and not any(hasattr(one, "secret") for one in held), "the keys went along"


def test_facts_keep_no_secret_and_no_bytes() -> None:
    client, connection = connected()
    context = replace(connection.export(), unread=client.send(b"x"), unsent=b"y")
    facts = Connection(context).context
    assert facts.read_secret.reveal() == facts.write_secret.reveal() == b""
    assert facts.unread == facts.unsent == b""
    assert (facts.suite, facts.server_name) == (context.suite, context.server_name)


def test_moved_at_every_byte() -> None:
    client, connection = connected()
    stream = client.send(b"one") + client.key_update(1) + client.send(b"two") + client.close()
    events: list[Event] = []
    answers: list[tuple[int, bytes]] = []
    for index, one in enumerate(stream):
        events += connection.receive(bytes((one,)))
        connection = moved(connection)
        answers += client.open(connection.send(bytes((index & 0xFF,))))
    assert events == [ApplicationData(b"one"), ApplicationData(b"two"), CloseNotify()]
    assert [kind for kind, _ in answers].count(HANDSHAKE) == 1
    connection.receive_eof()


def test_moved_inside_a_handshake_message() -> None:
    client, connection = connected()
    for part in (key_update(1)[:1], key_update(1)[1:4], key_update(1)[4:]):
        connection.receive(client.sealer.seal(HANDSHAKE, part))
        connection = moved(connection)
    client.sealer.update()
    assert client.open(connection.data_to_send()) == [UPDATE]
    assert text(connection.receive(client.send(b"data"))) == b"data"


def test_half_closed_is_moved_half_closed() -> None:
    client, connection = connected()
    connection.receive(client.close())
    connection = moved(connection)
    assert connection.receive(b"junk") == []
    connection.receive_eof()
    assert client.text(connection.send(b"data")) == b"data"
    connection.close()
    connection = moved(connection)
    assert connection.close() == b""
    with pytest.raises(Misuse, match="closed"):
        connection.send(b"data")
