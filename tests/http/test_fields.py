"""The heads that are sent on: nothing hop-by-hop, nothing forged, everything of ours."""

from __future__ import annotations

import itertools
import re

import pytest

from proxy.http.fields import RequestRewriter, new_request_id, offered_upgrade, response_head
from proxy.http.head import RequestHead, parse_request_head, parse_response_head
from proxy.http.record import ClientFacts
from proxy.http.settings import HttpSettings

CLIENT = ClientFacts(address="192.0.2.1", listener_port=8443)
ID = b"0123456789abcdef"


def parsed(*lines: bytes, line: bytes = b"GET /x HTTP/1.1") -> RequestHead:
    head = b"\r\n".join((line, b"Host: example.org:8443", *lines)) + b"\r\n\r\n"
    return parse_request_head(head, line_limit=200, field_limit=50)


def sent(
    *lines: bytes,
    line: bytes = b"GET /x HTTP/1.1",
    client: ClientFacts = CLIENT,
    settings: HttpSettings | None = None,
    upgrade: bool = False,
) -> list[bytes]:
    """The lines that go to the backend."""
    rewriter = RequestRewriter(client, settings or HttpSettings())
    head = rewriter.head(parsed(*lines, line=line), ID, b"example.org:8443", upgrade=upgrade)
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


def named(name: bytes, lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line.lower().startswith(name + b":")]


def test_the_whole_head_of_a_simple_request() -> None:
    assert sent(b"Accept: */*", b"Cookie: a=b", b"Connection: keep-alive") == [
        b"GET /x HTTP/1.1",
        b"Host: example.org:8443",
        b"Accept: */*",
        b"Cookie: a=b",
        b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Port: 8443",
        b"X-Forwarded-Host: example.org:8443",
        b'Forwarded: for=192.0.2.1;host="example.org:8443";proto=https',
        b"X-Request-Id: 0123456789abcdef",
        b"Via: 1.1 vestibule",
    ]


HOP_BY_HOP = [
    b"Connection: close",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic x",
    b"TE: trailers",
    b"Trailer: X",
    b"Upgrade: h2c",
    b"HTTP2-Settings: x",
]


@pytest.mark.parametrize("line", HOP_BY_HOP)
def test_a_hop_by_hop_field_stays_on_its_hop(line: bytes) -> None:
    assert not named(line.partition(b":")[0].lower(), sent(line))


def test_what_connection_names_is_removed_whatever_its_case() -> None:
    lines = sent(b"Connection: X-Hop, close", b"x-HOP: 1", b"X-Other: 2")
    assert not named(b"x-hop", lines)
    assert named(b"x-other", lines) == [b"X-Other: 2"]


@pytest.mark.parametrize(
    "name", [b"Host", b"Forwarded", b"X-Forwarded-For", b"X-Request-Id", b"Content-Length", b"Via"]
)
def test_connection_cannot_name_a_field_of_ours_away(name: bytes) -> None:
    lines = sent(b"Connection: " + name, b"Content-Length: 5", line=b"POST / HTTP/1.1")
    assert len(named(name.lower(), lines)) == 1


def test_what_a_client_claims_about_itself_is_replaced() -> None:
    forged = [
        b"Forwarded: for=6.6.6.6",
        b"X-Forwarded-For: 6.6.6.6",
        b"X-Forwarded-Proto: gopher",
        b"X-Forwarded-Host: 6.6.6.6",
        b"X-Forwarded-Port: 66",
        b"X-Real-IP: 6.6.6.6",
        b"X_Forwarded_For: 6.6.6.6",
        b"X-Forwarded-User: 6.6.6.6",
        b"x-forwarded-client-cert: 6.6.6.6",
        b"X_Forwarded-Prefix: /6.6.6.6",
        b"X-Request-Id: 6.6.6.6",
    ]
    for mode in (HttpSettings(), HttpSettings(forwarding="off")):
        lines = sent(*forged, settings=mode)
        assert not [line for line in lines if b"66" in line or b"6.6" in line or b"gopher" in line]
    assert not named(b"forwarded", lines)
    assert not named(b"x-forwarded-for", lines)


def test_appending_trusts_what_is_in_front() -> None:
    settings = HttpSettings(forwarding="append")
    lines = sent(
        b"X-Forwarded-For: 198.51.100.1",
        b"X-Forwarded-For: 198.51.100.2",
        b"X-Forwarded-Proto: http",
        b"Forwarded: for=198.51.100.1",
        b"X-Forwarded-Prefix: /app",
        settings=settings,
    )
    assert named(b"x-forwarded-for", lines) == [
        b"X-Forwarded-For: 198.51.100.1, 198.51.100.2, 192.0.2.1"
    ]
    assert named(b"forwarded", lines) == [b"Forwarded: for=198.51.100.1, for=192.0.2.1;proto=https"]
    assert named(b"x-forwarded-proto", lines) == [b"X-Forwarded-Proto: http"]
    assert named(b"x-forwarded-prefix", lines) == [b"X-Forwarded-Prefix: /app"]
    assert named(b"x-forwarded-host", lines) == [b"X-Forwarded-Host: example.org:8443"]
    assert sent(settings=settings) == sent()


def test_addresses_are_written_as_rfc_7239_wants_them() -> None:
    client = ClientFacts(address="2001:db8::1", listener_port=0)
    lines = sent(client=client)
    assert b"X-Forwarded-For: 2001:db8::1" in lines
    assert named(b"forwarded", lines)[0].startswith(b'Forwarded: for="[2001:db8::1]";')
    assert not named(b"x-forwarded-port", lines)
    unnamed = sent(client=ClientFacts(address=None))
    assert named(b"forwarded", unnamed)[0].startswith(b"Forwarded: for=unknown;")


def test_framing_and_expectation_are_written_anew() -> None:
    post = b"POST / HTTP/1.1"
    assert b"Content-Length: 5" in sent(b"content-length: 0005", line=post)
    assert b"Transfer-Encoding: chunked" in sent(b"transfer-encoding: CHUNKED", line=post)
    assert b"Content-Length: 0" in sent(b"Content-Length: 0", line=post)
    assert b"Expect: 100-continue" in sent(b"expect: 100-Continue", line=post)


def test_via_names_the_version_it_was_received_in() -> None:
    assert b"Via: 1.0 vestibule" in sent(line=b"GET / HTTP/1.0")
    lines = sent(b"Via: 1.1 other")
    assert named(b"via", lines) == [b"Via: 1.1 other", b"Via: 1.1 vestibule"]
    assert not named(b"via", sent(settings=HttpSettings(via=None)))


def test_a_request_id_is_random_unless_a_trusted_one_is_well_formed() -> None:
    assert re.fullmatch(rb"[0-9a-f]{32}", new_request_id())
    assert new_request_id() != new_request_id()
    given = parsed(b"X-Request-Id: from-client.1")
    bad = parsed(b"X-Request-Id: a b")
    trusting = RequestRewriter(CLIENT, HttpSettings(trust_request_id=True))
    assert trusting.request_id(given) == b"from-client.1"
    assert re.fullmatch(rb"[0-9a-f]{32}", trusting.request_id(bad))
    assert RequestRewriter(CLIENT, HttpSettings()).request_id(given) != b"from-client.1"


def test_request_ids_never_come_twice() -> None:
    made = [new_request_id() for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(rb"[0-9a-f]{32}", one) for one in made)


def test_requests_that_take_turns_are_not_mixed_up() -> None:
    lines = ([b"A: 1"], [b"A: 2"], [b"Connection: upgrade", b"Upgrade: websocket"])
    cases = list(itertools.product([parsed(*some) for some in lines], (b"a", b"b"), (False, True)))

    def alone(head: RequestHead, host: bytes, upgrade: bool, request_id: bytes) -> bytes:
        rewriter = RequestRewriter(CLIENT, HttpSettings())
        return rewriter.head(head, request_id, host, upgrade=upgrade)

    assert len({alone(*case, ID) for case in cases}) == len(cases)
    rewriter = RequestRewriter(CLIENT, HttpSettings())
    for pair in itertools.product(cases, repeat=2):
        for (head, host, upgrade), request_id in zip(pair, (ID, b"other"), strict=True):
            block = rewriter.head(head, request_id, host, upgrade=upgrade)
            assert block == alone(head, host, upgrade, request_id)


def test_an_upgrade_is_offered_only_where_it_is_allowed() -> None:
    allowed = frozenset({"websocket"})
    wanted = (b"Connection: Upgrade", b"Upgrade: WebSocket")
    assert offered_upgrade(parsed(*wanted), allowed)
    assert not offered_upgrade(parsed(*wanted), frozenset())
    assert not offered_upgrade(parsed(wanted[1]), allowed)
    assert not offered_upgrade(parsed(wanted[0], b"Upgrade: h2c"), allowed)
    assert not offered_upgrade(parsed(wanted[0], b"Upgrade: websocket, h2c"), allowed)
    assert not offered_upgrade(parsed(*wanted, line=b"GET / HTTP/1.0"), allowed)
    assert not offered_upgrade(parsed(*wanted, b"Content-Length: 1"), allowed)
    lines = sent(*wanted, upgrade=True)
    assert lines[-2:] == [b"Connection: Upgrade", b"Upgrade: WebSocket"]


def test_the_head_for_the_client() -> None:
    head = parse_response_head(
        b"HTTP/1.0 200 Fine\r\nServer: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: a\r\n"
        b"Proxy-Authenticate: b\r\nTrailer: c\r\nSet-Cookie: d\r\nSet-Cookie: e\r\n\r\n",
        field_limit=20,
    )
    block = response_head(head, b"now", framing=b"Content-Length: 5\r\n", connection=b"C: d\r\n")
    assert block == (
        b"HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: d\r\nSet-Cookie: e\r\nDate: now\r\n"
        b"Content-Length: 5\r\nC: d\r\n\r\n"
    )


def test_a_date_is_added_only_where_there_is_none() -> None:
    dated = parse_response_head(b"HTTP/1.1 200 OK\r\nDate: then\r\n\r\n", field_limit=20)
    interim = parse_response_head(b"HTTP/1.1 103 Early Hints\r\n\r\n", field_limit=20)
    assert b"now" not in response_head(dated, b"now", framing=b"", connection=b"")
    assert response_head(interim, b"now", framing=b"", connection=b"") == (
        b"HTTP/1.1 103 Early Hints\r\n\r\n"
    )
