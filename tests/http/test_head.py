"""Heads: facts from good ones, our error for bad ones, whatever llhttp would let pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http.errors import HttpError, RequestRefused, ResponseRefused
from proxy.http.head import (
    RequestHead,
    ResponseHead,
    check_request_start,
    head_end,
    parse_request_head,
    parse_response_head,
)


def request(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    head = b"\r\n".join((line, *lines)) + b"\r\n\r\n"
    return parse_request_head(head, line_limit=200, field_limit=20)


def response(*lines: bytes, line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    head = b"\r\n".join((line, *lines)) + b"\r\n\r\n"
    return parse_response_head(head, field_limit=20)


def refusal(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> tuple[int, str]:
    with pytest.raises(RequestRefused) as caught:
        request(*lines, line=line)
    return caught.value.status, caught.value.reason


def test_the_facts_of_a_request() -> None:
    head = request(
        b"Host: Example.org:8443",
        b"Content-Length: 5",
        b"Connection: keep-alive, X-Named",
        b"X-Named: 1",
        b"Expect: 100-Continue",
        b"X-Request-ID: abc",
        b"X-Forwarded-For: 192.0.2.9",
        b"TE: trailers",
        b"Accept: \t */* \t",
        line=b"POST /a?b HTTP/1.1",
    )
    assert (head.method, head.target, head.form) == (b"POST", b"/a?b", b"/a?b")
    assert (head.authority, head.host) == (b"Example.org:8443", b"example.org")
    assert (head.content_length, head.chunked) == (5, False)
    assert head.connection == {b"keep-alive", b"x-named"}
    assert head.expect_continue
    assert head.request_id == b"abc"
    assert head.forwarding == ((b"X-Forwarded-For", b"192.0.2.9"),)
    assert head.plain == ((b"X-Named", b"1"), (b"Accept", b"*/*"))
    assert len(head.fields) == 9
    assert head.keep_alive


def test_a_head_without_fields_is_one_of_http_1_0() -> None:
    head = request(line=b"GET / HTTP/1.0")
    assert (head.minor_version, head.authority, head.host) == (0, None, None)
    assert not head.keep_alive
    assert request(b"Connection: Keep-Alive", line=b"GET / HTTP/1.0").keep_alive


def test_several_connection_fields_are_one_list() -> None:
    head = request(b"Host: a", b"Connection: keep-alive", b"Connection: Close , X")
    assert head.connection == {b"keep-alive", b"close", b"x"}
    assert not head.keep_alive


def test_an_upgrade_is_a_fact_and_not_an_error() -> None:
    head = request(b"Host: a", b"Connection: Upgrade", b"Upgrade: websocket")
    assert head.upgrade == b"websocket"
    assert head.connection == {b"upgrade"}
    twice = request(b"Host: a", b"Upgrade: a", b"Upgrade: b")
    assert twice.upgrade == b"a, b"


def test_absolute_form_outranks_host() -> None:
    head = request(b"Host: other.example", line=b"GET http://Example.org:80/x HTTP/1.1")
    assert (head.form, head.authority, head.host) == (b"/x", b"Example.org:80", b"example.org")


def test_names_that_imitate_our_fields_are_dropped_but_other_underscores_stay() -> None:
    head = request(b"Host: a", b"X_Forwarded_For: 1", b"content_length: 5", b"api_key: k")
    assert head.plain == ((b"api_key", b"k"),)
    assert head.content_length is None


SMUGGLING = {
    "no host": [b"A: b"],
    "two hosts": [b"Host: a", b"Host: a"],
    "two different hosts": [b"Host: a", b"Host: b"],
    "empty host": [b"Host: "],
    "host with userinfo": [b"Host: user@a"],
    "host with path": [b"Host: a/b"],
    "host with two values": [b"Host: a, b"],
    "host with bad port": [b"Host: a:99999"],
    "length and chunked": [b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    "chunked and length": [b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 5"],
    "two lengths": [b"Host: a", b"Content-Length: 5", b"Content-Length: 6"],
    "two equal lengths": [b"Host: a", b"Content-Length: 5", b"Content-Length: 5"],
    "length list": [b"Host: a", b"Content-Length: 5, 5"],
    "signed length": [b"Host: a", b"Content-Length: +5"],
    "hex length": [b"Host: a", b"Content-Length: 0x5"],
    "empty length": [b"Host: a", b"Content-Length:"],
    "chunked not last": [b"Host: a", b"Transfer-Encoding: chunked, identity"],
    "chunked twice": [b"Host: a", b"Transfer-Encoding: chunked, chunked"],
    "two codings": [b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "unknown final coding": [b"Host: a", b"Transfer-Encoding: identity"],
    "vertical tab before chunked": [b"Host: a", b"Transfer-Encoding: \x0bchunked"],
    "coding with a quote": [b"Host: a", b'Transfer-Encoding: "chunked"'],
    "coding with parameter": [b"Host: a", b"Transfer-Encoding: chunked;a=b"],
    "space before colon": [b"Host: a", b"Transfer-Encoding : chunked"],
    "tab before colon": [b"Host: a", b"Content-Length\t: 5"],
    "space before name": [b"Host: a", b" Content-Length: 5"],
    "fold": [b"Host: a", b"X: y", b" z"],
    "fold with tab": [b"Host: a", b"X: y", b"\tContent-Length: 5"],
    "fold in the first line": [b" Host: a", b"Host: a"],
    "bare CR": [b"Host: a", b"X: y\rContent-Length: 5"],
    "bare CR before name": [b"Host: a", b"\rContent-Length: 5"],
    "bare LF": [b"Host: a", b"X: y\nContent-Length: 5"],
    "NUL in value": [b"Host: a", b"X: y\0z"],
    "NUL in name": [b"Host: a", b"X\0: y"],
    "control in value": [b"Host: a", b"X: y\x01"],
    "DEL in value": [b"Host: a", b"X: y\x7f"],
    "line without colon": [b"Host: a", b"Content-Length 5"],
    "empty name": [b"Host: a", b": 5"],
    "non-ASCII name": [b"Host: a", b"Content-L\xc3\xa9ngth: 5"],
    "name with parenthesis": [b"Host: a", b"A(b): 5"],
}


@pytest.mark.parametrize("case", SMUGGLING)
def test_what_two_servers_could_read_in_two_ways_is_refused(case: str) -> None:
    assert refusal(*SMUGGLING[case], line=b"POST / HTTP/1.1")[0] == 400


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"X: y\r\n z", "obs_fold"),
        (b"X: y\r\n\tz", "obs_fold"),
        (b"X: y\rz", "bad_octet_in_head"),
        (b"X: y\nz", "bad_octet_in_head"),
        (b"X: y\0", "bad_octet_in_head"),
    ],
)
def test_it_is_this_proxy_that_refuses_and_not_some_version_of_the_parser(
    line: bytes, reason: str
) -> None:
    assert refusal(b"Host: a", line) == (400, reason)


def test_chunked_in_http_1_0_is_refused() -> None:
    lines = (b"Host: a", b"Transfer-Encoding: chunked")
    assert refusal(*lines, line=b"POST / HTTP/1.0")[0] == 400


BAD_LINES = {
    b"GET  / HTTP/1.1": 400,
    b"GET / HTTP/1.1 ": 400,
    b" GET / HTTP/1.1": 400,
    b"GET\t/ HTTP/1.1": 400,
    b"GET /a b HTTP/1.1": 400,
    b"GET /": 400,
    b"GET / http/1.1": 400,
    b"GET / HTTP/1.1x": 400,
    b"GET / HTTP/01.1": 400,
    b"GET / HTTP/11": 400,
    b"G(T / HTTP/1.1": 400,
    b"GET /\xc3\xa9 HTTP/1.1": 400,
    b"GET /a#b HTTP/1.1": 400,
    b"GET /\x7f HTTP/1.1": 400,
    b"GET a HTTP/1.1": 400,
    b"GET * HTTP/1.1": 400,
    b"GET ftp://a/ HTTP/1.1": 400,
    b"GET http:///x HTTP/1.1": 400,
    b"GET http://user@a/ HTTP/1.1": 400,
    b"GET / RTSP/1.0": 400,
    b"CONNECT a:443 HTTP/1.1": 405,
    b"CONNECT / HTTP/1.1": 405,
    b"TRACE / HTTP/1.1": 405,
    b"BREW / HTTP/1.1": 501,
    b"get / HTTP/1.1": 501,
    b"GET / HTTP/0.9": 505,
    b"GET / HTTP/1.2": 505,
    b"PRI * HTTP/2.0": 505,
    b"GET /" + b"a" * 200 + b" HTTP/1.1": 414,
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_request_line_has_its_status(line: bytes) -> None:
    assert refusal(b"Host: a", line=line)[0] == BAD_LINES[line]


def test_other_refusals_have_their_status() -> None:
    assert refusal(*[b"Host: a"], *[b"A: b"] * 20) == (431, "too_many_fields")
    assert refusal(b"Host: a", b"Expect: 200-ok") == (417, "unknown_expectation")
    assert refusal(b"Host: a", b"Transfer-Encoding: gzip, chunked")[0] == 501
    assert not request(b"Expect: 200-ok", line=b"GET / HTTP/1.0").expect_continue


def test_the_facts_of_a_response() -> None:
    head = response(
        b"Content-Length: 5",
        b"Connection: close",
        b"Keep-Alive: timeout=5",
        b"date: now",
        b"Set-Cookie: a",
        b"Set-Cookie: b",
        line=b"HTTP/1.1 404 Not \xe9 Found",
    )
    assert (head.status, head.reason) == (404, b"Not \xe9 Found")
    assert (head.content_length, head.chunked, head.dated) == (5, False, True)
    assert not head.keep_alive
    assert head.plain == ((b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"date", b"now"))
    assert response(line=b"HTTP/1.1 200").reason == b""
    assert not response(line=b"HTTP/1.0 200 OK").keep_alive
    assert response(b"Connection: keep-alive", line=b"HTTP/1.0 200 OK").keep_alive


def test_a_101_is_read_like_any_other() -> None:
    lines = (b"Connection: upgrade", b"Upgrade: websocket")
    head = response(*lines, line=b"HTTP/1.1 101 Switching Protocols")
    assert (head.status, head.upgrade) == (101, b"websocket")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 200 \x01",
        b"ICY 200 OK",
    ],
)
def test_a_bad_status_line_is_refused(line: bytes) -> None:
    with pytest.raises(ResponseRefused):
        response(line=line)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: x"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"X: y", b" z"],
        [b"X : y"],
        [b"X: y\nSet-Cookie: a"],
        [b"A: b"] * 21,
    ],
)
def test_a_doubtful_response_head_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(ResponseRefused):
        response(*lines)


def test_the_end_of_a_head_is_found_at_any_split() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    data = head + b"body\r\n\r\n"
    for size in range(len(data) + 1):
        expected = len(head) if size >= len(head) else -1
        for searched in range(min(size, len(head) - 1) + 1):
            assert head_end(data[:size], searched) == expected


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\n\n", b"GET / HTTP/1.1\nHost: a\n\r\n"])
def test_a_head_ended_by_bare_line_feeds_is_not_waited_for(data: bytes) -> None:
    with pytest.raises(HttpError, match="bare_line_feed"):
        head_end(data)


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00", b"GET /\xff", b"\x00", b"SSH\t"])
def test_another_protocol_is_noticed_before_the_line_ends(data: bytes) -> None:
    with pytest.raises(RequestRefused, match="not_http"):
        check_request_start(data)


@pytest.mark.parametrize("data", [b"", b"G", b"GET /x?y HTTP/1.1\r", b"GET / HTTP/1.1\r\n\xff"])
def test_the_beginning_of_a_request_is_waited_for(data: bytes) -> None:
    check_request_start(data)


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Connection: x"]
        ),
        st.binary(max_size=12),
    ),
    max_size=6,
)


@given(line=st.one_of(st.just(b"GET / HTTP/1.1"), st.binary(max_size=20)), lines=LINES)
def test_any_bytes_give_a_head_or_our_error(line: bytes, lines: list[bytes]) -> None:
    try:
        head = request(*lines, line=line)
    except RequestRefused:
        return
    assert head.authority is not None or head.minor_version == 0
    assert not (head.chunked and head.content_length is not None)
    assert len(head.fields) == len(lines)


@given(line=st.one_of(st.just(b"HTTP/1.1 200 OK"), st.binary(max_size=20)), lines=LINES)
def test_any_response_bytes_give_a_head_or_our_error(line: bytes, lines: list[bytes]) -> None:
    try:
        head = response(*lines, line=line)
    except ResponseRefused:
        return
    assert 100 <= head.status <= 599


def test_an_equal_head_is_read_once_and_the_limits_still_hold() -> None:
    block = b"GET /again HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"
    known = parse_request_head(block, line_limit=200, field_limit=2)
    assert parse_request_head(bytes(bytearray(block)), line_limit=200, field_limit=2) is known
    for line_limit, field_limit, status in ((10, 2, 414), (200, 1, 431), (10, 2, 414)):
        with pytest.raises(RequestRefused) as caught:
            parse_request_head(block, line_limit=line_limit, field_limit=field_limit)
        assert caught.value.status == status


def test_an_equal_response_head_is_read_once_and_the_limit_still_holds() -> None:
    block = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n"
    known = parse_response_head(block, field_limit=2)
    assert parse_response_head(bytes(bytearray(block)), field_limit=2) is known
    with pytest.raises(ResponseRefused, match="too_many_fields"):
        parse_response_head(block, field_limit=1)


def test_a_large_head_is_not_kept() -> None:
    block = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % bytes(b"x" * 1024)
    first = parse_request_head(block, line_limit=200, field_limit=9)
    again = parse_request_head(block, line_limit=200, field_limit=9)
    assert again == first
    assert again is not first
