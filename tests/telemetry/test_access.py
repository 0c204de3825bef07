"""The access log's lines."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.http import ClientFacts, RequestRecord
from proxy.telemetry import AccessLog, Counter, LineWriter, TlsFacts

NOW = 1_700_000_000.25
TLS = TlsFacts("1.3", "TLS_AES_128_GCM_SHA256", "example.org")
RECORD = RequestRecord(
    request_id="0123456789abcdef",
    client=ClientFacts(address="192.0.2.1"),
    method=b"GET",
    target=b"/path?q=1",
    minor_version=1,
    fields=(
        (b"Host", b"example.org"),
        (b"User-Agent", b"curl/8"),
        (b"user-agent", b"second"),
        (b"Referer", b"https://example.org/"),
    ),
    status=200,
    request_bytes=100,
    response_bytes=2000,
    duration_s=0.0123456,
    backend="app",
    server=None,
    backend_time_s=0.01,
    attempts=1,
    phase="done",
    reason=None,
    close=None,
)


def written(
    directory: Path,
    form: Literal["json", "combined", "off"],
    record: RequestRecord,
    tls: TlsFacts | None = TLS,
) -> str:
    """What is in the file after this request."""
    path = directory / "access"
    path.unlink(missing_ok=True)
    writer = LineWriter(path, Counter())
    log = AccessLog(lambda: NOW)
    log.configure(form, writer)
    log.write(record, tls)
    assert writer.close(20)
    return path.read_text("ascii")


def test_a_json_line_has_everything(tmp_path: Path) -> None:
    line = written(tmp_path, "json", RECORD)
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "timestamp": "2023-11-14T22:13:20.250Z",
        "request_id": "0123456789abcdef",
        "client": "192.0.2.1",
        "method": "GET",
        "target": "/path?q=1",
        "host": "example.org",
        "protocol": "HTTP/1.1",
        "status": 200,
        "request_bytes": 100,
        "response_bytes": 2000,
        "duration_s": 0.012346,
        "backend": "app",
        "server": None,
        "backend_time_s": 0.01,
        "reason": None,
        "referer": "https://example.org/",
        "user_agent": "curl/8",
        "tls_version": "1.3",
        "tls_suite": "TLS_AES_128_GCM_SHA256",
        "tls_server_name": "example.org",
    }


def test_a_json_line_of_a_request_that_failed(tmp_path: Path) -> None:
    record = RECORD._replace(
        client=ClientFacts(address=None),
        method=b"",
        target=b"",
        fields=(),
        backend=None,
        backend_time_s=None,
        reason="head_timeout",
    )
    entry = json.loads(written(tmp_path, "json", record, None))
    assert entry["client"] is None
    assert entry["backend_time_s"] is None
    assert entry["reason"] == "head_timeout"
    assert entry["host"] == entry["user_agent"] == ""
    assert "tls_version" not in entry


def test_a_combined_line(tmp_path: Path) -> None:
    assert written(tmp_path, "combined", RECORD) == (
        '192.0.2.1 - - [14/Nov/2023:22:13:20 +0000] "GET /path?q=1 HTTP/1.1" 200 2000 '
        '"https://example.org/" "curl/8"\n'
    )


def test_a_combined_line_of_nothing(tmp_path: Path) -> None:
    record = RECORD._replace(client=ClientFacts(address=None), method=b"", target=b"", fields=())
    assert written(tmp_path, "combined", record) == (
        'unix: - - [14/Nov/2023:22:13:20 +0000] "-" 200 2000 "-" "-"\n'
    )


def test_off_writes_nothing(tmp_path: Path) -> None:
    assert written(tmp_path, "off", RECORD) == ""
    AccessLog().write(RECORD)


PEERS = st.binary(max_size=60) | st.sampled_from(
    [b'"', b"\\", b"\n200 ok", b"\r\n", b"\x1b[2J", b"\x7f", b"\xe2\x80\xa8", b"\xff\xfe"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(method=PEERS, target=PEERS, host=PEERS, agent=PEERS, name=st.text(max_size=30))
def test_peers_cannot_forge_a_json_line(
    tmp_path: Path, method: bytes, target: bytes, host: bytes, agent: bytes, name: str
) -> None:
    fields = ((b"Host", host), (b"User-Agent", agent))
    record = RECORD._replace(method=method, target=target, fields=fields)
    line = written(tmp_path, "json", record, replace(TLS, server_name=name))
    assert re.fullmatch(r"[\x20-\x7e]*\n", line)
    entry = json.loads(line)
    assert entry["target"] == target.decode("utf-8", "backslashreplace")
    assert entry["user_agent"] == agent.decode("utf-8", "backslashreplace")
    assert (entry["status"], entry["tls_server_name"]) == (200, name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(method=PEERS.filter(bool), target=PEERS, referer=PEERS, agent=PEERS)
def test_peers_cannot_forge_a_combined_line(
    tmp_path: Path, method: bytes, target: bytes, referer: bytes, agent: bytes
) -> None:
    fields = ((b"referer", referer), (b"USER-AGENT", agent))
    line = written(
        tmp_path, "combined", RECORD._replace(method=method, target=target, fields=fields)
    )
    quoted = r'"[\x20\x21\x23-\x7e]*"'
    start = r"192\.0\.2\.1 - - \[14/Nov/2023:22:13:20 \+0000\] "
    assert re.fullmatch(rf"{start}{quoted} 200 2000 {quoted} {quoted}\n", line)


@pytest.mark.parametrize("form", ["json", "combined"])
def test_a_line_is_bounded(tmp_path: Path, form: Literal["json", "combined"]) -> None:
    huge = b"\x01" * 60_000
    fields = ((b"host", huge), (b"referer", huge), (b"user-agent", huge))
    record = RECORD._replace(method=huge, target=huge, fields=fields)
    assert len(written(tmp_path, form, record)) < 64 * 1024


def test_the_second_is_formatted_anew_when_it_changes(tmp_path: Path) -> None:
    times = [NOW, NOW + 0.7, NOW + 60]
    writer = LineWriter(tmp_path / "access", Counter())
    log = AccessLog(lambda: times.pop(0))
    log.configure("json", writer)
    for _ in range(3):
        log.write(RECORD)
    writer.close(20)
    lines = (tmp_path / "access").read_text().splitlines()
    stamps = [json.loads(line)["timestamp"] for line in lines]
    assert [stamp[11:] for stamp in stamps] == ["22:13:20.250Z", "22:13:20.950Z", "22:14:20.250Z"]
