"""Messages and their encoding, including what a hostile child could send."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.app.messages import (
    MAX_DATAGRAM_BYTES,
    Abandon,
    Attach,
    Commit,
    Committed,
    ControlError,
    Drain,
    Drained,
    ListenerSocket,
    Lost,
    Message,
    Packet,
    Prepare,
    Prepared,
    Query,
    Refused,
    ReopenLogs,
    Snapshot,
    Started,
    decode,
    encode,
)
from proxy.handoff import sealed

PLAIN: list[Message] = [
    Commit(1),
    Abandon(2),
    Query(3, "metrics"),
    Drain(1.5),
    Drain(30),
    ReopenLogs(),
    Started(4711),
    Prepared(5),
    Refused(6, "no"),
    Committed(7),
    Lost(1, 7),
    Snapshot(8, "status", {"connections": 1, "backends": {}}),
    Drained(),
]


@pytest.fixture
def descriptor() -> Iterator[int]:
    """Something to pass."""
    read, write = os.pipe()
    yield read
    os.close(write)
    os.close(read)


def received(packet: Packet) -> Message:
    """Decode as the other end would: with descriptors of its own."""
    copies = [os.dup(one) for one in packet.descriptors]
    for one in packet.owned:
        os.close(one)
    return decode(packet.payload, copies)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("message", PLAIN, ids=lambda message: type(message).__name__)
def test_plain_messages_round_trip(message: Message) -> None:
    packet = encode(message)
    assert packet.descriptors == ()
    assert received(packet) == message


def test_prepare_carries_its_snapshot_outside_the_datagram(descriptor: int) -> None:
    listeners = (ListenerSocket("public", "[::]:8443", descriptor),)
    packet = encode(Prepare(1, b"PRIVATE KEY", listeners))
    assert b"PRIVATE" not in packet.payload
    message = received(packet)
    assert isinstance(message, Prepare)
    assert message.snapshot == b"PRIVATE KEY"
    (listener,) = message.listeners
    assert listener[:2] == ("public", "[::]:8443")
    assert os.path.samestat(os.fstat(listener.descriptor), os.fstat(descriptor))
    os.close(listener.descriptor)


def test_a_snapshot_does_not_show() -> None:
    assert "PRIVATE" not in repr(Prepare(1, b"PRIVATE KEY"))


def test_attach_carries_its_descriptor(descriptor: int) -> None:
    message = received(encode(Attach("worker", 1, 9, descriptor)))
    assert isinstance(message, Attach)
    assert (message.peer_role, message.peer_slot, message.incarnation) == ("worker", 1, 9)
    os.close(message.descriptor)


@pytest.mark.parametrize("size", [MAX_DATAGRAM_BYTES, 1_000_000])
def test_a_large_message_goes_by_memory_file(size: int) -> None:
    message = Snapshot(1, "metrics", {"text": "x" * size})
    packet = encode(message)
    assert len(packet.payload) < 100
    assert received(packet) == message


def test_too_many_listeners_are_refused(descriptor: int) -> None:
    with pytest.raises(ControlError, match="250 listening sockets"):
        encode(Prepare(1, b"", (ListenerSocket("a", "b", descriptor),) * 250))


BAD = [
    "",
    "null",
    "[]",
    "{}",
    '{"type": "Nonsense"}',
    '{"type": ["Commit"], "generation": 1}',
    '{"type": "Commit"}',
    '{"type": "Commit", "generation": "1"}',
    '{"type": "Commit", "generation": true}',
    '{"type": "Commit", "generation": 1, "more": 1}',
    '{"type": "Snapshot", "number": 1, "kind": "status", "data": []}',
    '{"type": "Prepare", "generation": 1, "listeners": []}',
    '{"type": "Prepare", "generation": 1, "bytes": 3, "listeners": [["a", "b"]]}',
    '{"type": "Prepare", "generation": 1, "bytes": -1, "listeners": []}',
    '{"type": "Prepare", "generation": 1, "bytes": 99999999999, "listeners": []}',
    '{"type": "Attach", "peer_role": "front", "peer_slot": 0, "incarnation": null}',
    '{"type": "Attach", "peer_role": 1, "peer_slot": 0, "incarnation": 1}',
    '{"type": "Spilled"}',
    '{"type": "Spilled", "bytes": 3}',
    "[" * 10_000,
]


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("passed", [0, 1, 2])
def test_what_is_no_message_raises_and_closes(text: str, passed: int) -> None:
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(passed)]
    with pytest.raises(ControlError):
        decode(text.encode(), descriptors)
    assert not any(map(is_open, descriptors))


def test_a_descriptor_too_many_is_refused_and_closed(descriptor: int) -> None:
    copy = os.dup(descriptor)
    with pytest.raises(ControlError, match="Commit with 1 descriptors too many"):
        decode(b'{"type": "Commit", "generation": 1}', [copy])
    assert not is_open(copy)


def test_a_spilled_message_may_not_spill_again() -> None:
    inner = b'{"type": "Spilled", "bytes": 2}'
    outer = json.dumps({"type": "Spilled", "bytes": len(inner)}).encode()
    with pytest.raises(ControlError):
        decode(outer, [sealed(inner), sealed(b"{}")])


def test_a_file_that_is_not_sealed_is_no_snapshot() -> None:
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.write(unsealed, b"abc")
    body = {"type": "Prepare", "generation": 1, "bytes": 3, "listeners": []}
    with pytest.raises(ControlError, match="not sealed"):
        decode(json.dumps(body).encode(), [unsealed])
    assert not is_open(unsealed)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message_or_our_error(payload: bytes) -> None:
    try:
        decode(payload, [])
    except ControlError:
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=10,
    ),
    st.sampled_from([type(message).__name__ for message in PLAIN] + ["Prepare", "Attach"]),
)
def test_any_fields_give_a_message_or_our_error(fields: object, kind: str) -> None:
    body = {**(fields if isinstance(fields, dict) else {"generation": fields}), "type": kind}
    try:
        decode(json.dumps(body).encode(), [])
    except ControlError:
        return
