"""The proxy's own answers."""

from __future__ import annotations

import pytest

from proxy.http.errors import PHRASES, error_response


@pytest.mark.parametrize("status", PHRASES)
def test_an_answer_is_complete_and_says_only_status_and_id(status: int) -> None:
    answer = error_response(status, b"id-1", b"now", close=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 %d %b" % (status, PHRASES[status])
    assert b"Connection: close" in lines
    assert b"X-Request-Id: id-1" in lines
    assert b"Content-Length: %d" % len(body) in lines
    assert b"Content-Type: text/plain; charset=utf-8" in lines
    assert body == b"%d %b\nrequest id: id-1\n" % (status, PHRASES[status])
    assert (b"Allow:" in head) == (status == 405)


def test_head_gets_no_body_but_its_length() -> None:
    full = error_response(404, b"i", b"now", close=False)
    assert (
        error_response(404, b"i", b"now", close=False, head_only=True)
        == (full[: full.index(b"\r\n\r\n") + 4])
    )


def test_the_connection_field_fits_the_clients_version() -> None:
    def connection(**how: bool | int) -> list[bytes]:
        answer = error_response(404, b"i", b"now", close=bool(how["close"]), minor_version=how["v"])
        return [line for line in answer.split(b"\r\n") if line.startswith(b"Connection")]

    assert connection(close=False, v=1) == []
    assert connection(close=False, v=0) == [b"Connection: keep-alive"]
    assert connection(close=True, v=1) == connection(close=True, v=0) == [b"Connection: close"]
