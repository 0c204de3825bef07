"""The hellos that a bench sends, read by our own parser."""

from __future__ import annotations

from proxy.app.bench.hello import HELLO_BYTES, Hellos
from proxy.wire import ClientHello, NamedGroup, ProtocolVersion


def decoded(record: bytes) -> ClientHello:
    assert record[:1] == b"\x16"
    assert int.from_bytes(record[3:5]) == len(record) - 5
    return ClientHello.decode(record[5:])


def test_a_hello_is_whole_and_of_the_size_that_is_promised() -> None:
    record = Hellos("localhost").take()
    assert len(record) == HELLO_BYTES
    hello = decoded(record)
    assert hello.server_name == b"localhost"
    assert hello.supported_versions == (ProtocolVersion.TLS_1_3,)
    assert hello.key_shares is not None
    assert [(one.group, len(one.key_exchange)) for one in hello.key_shares] == [
        (NamedGroup.X25519, 32)
    ]


def test_no_two_are_alike_in_what_must_be_fresh() -> None:
    hellos = Hellos("localhost")
    taken = [decoded(hellos.take()) for _ in range(100)]
    assert len({one.random for one in taken}) == 100
    assert len({one.session_id for one in taken}) == 100
    assert len({one.key_shares for one in taken}) == 100
    assert len({one.cipher_suites for one in taken}) == 1
