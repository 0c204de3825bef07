"""What the load programs print, read; and the hello that is sent."""

from __future__ import annotations

import pytest

from proxy.app.bench.rotation import BurstFailed
from proxy.wire import ClientHello, NamedGroup
from tests.bench.load import CHROMIUM, SMALL, Hello, answered, fields, latencies_of, requests_of

WRK = """\
Running 1s test @ https://127.0.0.1:8443/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms  204.34us   4.29ms   84.73%
    Req/Sec    15.61k   401.09    16.12k    72.73%
  Latency Distribution
     50%    0.98ms
     75%    1.09ms
     90%    1.26ms
     99%  812.00us
  17081 requests in 1.10s, 2.61MB read
Requests/sec:  15532.22
Transfer/sec:      2.37MB
"""


def test_pairs_of_a_line() -> None:
    assert fields("answered=10 fail=0 secs=0.5 p99ms=1.25 TLSv1.3/AES") == {
        "answered": 10,
        "fail": 0,
        "secs": 0.5,
        "p99ms": 1.25,
    }


def test_answered_hellos() -> None:
    assert answered("answered=990 fail=10 retried=0 secs=1", SMALL) == 990


def test_too_many_failures_give_no_number() -> None:
    with pytest.raises(BurstFailed, match="11 of 1000 clients failed"):
        answered("answered=989 fail=11 retried=0", SMALL)
    with pytest.raises(BurstFailed, match="lg: Killed"):
        answered("Killed", SMALL)


def test_a_second_hello_that_nobody_asked_for_gives_no_number() -> None:
    echo = Hello(echo=True)
    assert answered("answered=100 fail=0 retried=100", echo) == 100
    with pytest.raises(BurstFailed, match="100 of 100 clients failed"):
        answered("answered=100 fail=0 retried=0", echo)


def test_how_lg_is_told() -> None:
    assert SMALL.environment == {}
    assert Hello(CHROMIUM, echo=True).environment == {"LG_HELLO": str(CHROMIUM), "LG_ECHO": "1"}


def test_wrk_in_numbers() -> None:
    assert requests_of(WRK) == 17081
    assert latencies_of(WRK) == {"p50_ms": 0.98, "p99_ms": pytest.approx(0.812)}


@pytest.mark.parametrize(
    "text",
    [
        "unable to connect to 127.0.0.1:1 Connection refused",
        WRK + "  Socket errors: connect 0, read 12, write 0, timeout 0\n",
        WRK + "  Non-2xx or 3xx responses: 17081\n",
    ],
)
def test_wrk_with_errors_gives_no_number(text: str) -> None:
    with pytest.raises(BurstFailed, match="wrk: "):
        requests_of(text)


def test_the_browsers_hello_is_one() -> None:
    record = CHROMIUM.read_bytes()
    assert record[0] == 0x16
    assert int.from_bytes(record[3:5]) == len(record) - 5
    hello = ClientHello.decode(record[5:])
    assert hello.server_name == b"localhost"
    assert hello.key_shares is not None
    groups = [share.group for share in hello.key_shares]
    assert {NamedGroup.X25519MLKEM768, NamedGroup.X25519} <= set(groups)
