from __future__ import annotations

import pytest

from proxy.edge import SessionError, TlsSession
from proxy.edge.buffers import PLAINTEXT_BYTES, RECORD_BYTES
from proxy.tls import ApplicationData, CloseNotify
from tests.edge.legs import sessions


def tls_pair() -> tuple[TlsSession, TlsSession]:
    near, far = sessions("tls")
    assert isinstance(near, TlsSession)
    assert isinstance(far, TlsSession)
    return near, far


@pytest.mark.requirement("A41")
def test_records_carry_plaintext_and_close_notify() -> None:
    near, far = tls_pair()
    records = bytes(near.send(b"hello")) + bytes(near.send(memoryview(b"again"))) + near.close()
    assert b"hello" not in records
    assert list(far.receive(memoryview(records))) == [
        ApplicationData(b"hello"),
        ApplicationData(b"again"),
        CloseNotify(),
    ]
    far.receive_eof()


@pytest.mark.parametrize("size", [1, 16384, 16385, 300_000, PLAINTEXT_BYTES, PLAINTEXT_BYTES + 1])
def test_bulk_both_ways(size: int) -> None:
    near, far = tls_pair()
    data = bytes(index % 241 for index in range(size))
    records = bytes(near.send(memoryview(data)))
    target = memoryview(bytearray(len(records) + RECORD_BYTES))
    plaintext, ended = far.receive_view(memoryview(records), target)
    assert (plaintext == data, ended) == (True, False)
    plaintext, ended = far.receive_view(memoryview(near.close()), target)
    assert (bytes(plaintext), ended) == (b"", True)


def test_a_broken_record_in_bulk_is_refused() -> None:
    near, far = tls_pair()
    record = bytearray(near.send(bytes(100_000)))
    record[-1] ^= 1
    with pytest.raises(SessionError) as caught:
        far.receive_view(memoryview(record), memoryview(bytearray(200_000)))
    assert caught.value.reason == "bad_record_mac"
    assert far.data_to_send()


def test_eof_without_close_notify_truncates() -> None:
    near, far = tls_pair()
    far.receive(memoryview(near.send(b"hello")))
    with pytest.raises(SessionError) as caught:
        far.receive_eof()
    assert caught.value.reason == "truncated"


def test_a_broken_record_leaves_one_alert_to_send() -> None:
    near, far = tls_pair()
    record = bytearray(near.send(b"hello"))
    record[-1] ^= 1
    with pytest.raises(SessionError) as caught:
        far.receive(memoryview(record))
    assert caught.value.reason == "bad_record_mac"
    alert = far.data_to_send()
    assert far.data_to_send() == b""
    with pytest.raises(SessionError) as caught:
        near.receive(memoryview(alert))
    assert caught.value.reason == "peer_alert"
    assert near.data_to_send() == b"", "an alert is not answered"
