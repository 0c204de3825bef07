from __future__ import annotations

import pytest

from proxy.edge import PlainSession, SessionError
from proxy.tls import ApplicationData


def test_plain_bytes_pass_unchanged() -> None:
    session = PlainSession()
    assert list(session.receive(memoryview(b"abc"))) == [ApplicationData(b"abc")]
    assert session.send(b"abc") == b"abc"
    assert session.send(memoryview(b"abc")) == b"abc"
    assert (session.close(), session.data_to_send()) == (b"", b"")
    session.receive_eof()


def test_plain_keeps_no_view_of_what_was_received() -> None:
    shared = bytearray(b"first")
    (event,) = PlainSession().receive(memoryview(shared))
    shared[:] = b"other"
    assert event == ApplicationData(b"first")


def test_plain_bulk_is_not_copied() -> None:
    shared = bytearray(b"first")
    received, ended = PlainSession().receive_view(memoryview(shared), memoryview(bytearray()))
    sent = PlainSession().send(received)
    shared[:] = b"other"
    assert (sent, ended) == (b"other", False)


@pytest.mark.parametrize(("message", "text"), [("", "reset"), ("by peer", "by peer")])
def test_an_error_has_a_label_and_a_text(message: str, text: str) -> None:
    error = SessionError("reset", message)
    assert (error.reason, str(error)) == ("reset", text)
