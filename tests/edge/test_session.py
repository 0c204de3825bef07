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


def test_plain_keeps_no_view_of_the_callers_buffer() -> None:
    shared = bytearray(b"first")
    (event,) = PlainSession().receive(memoryview(shared))
    sent = PlainSession().send(memoryview(shared))
    shared[:] = b"other"
    assert (event, sent) == (ApplicationData(b"first"), b"first")


@pytest.mark.parametrize(("message", "text"), [("", "reset"), ("by peer", "by peer")])
def test_an_error_has_a_label_and_a_text(message: str, text: str) -> None:
    error = SessionError("reset", message)
    assert (error.reason, str(error)) == ("reset", text)
