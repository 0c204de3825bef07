"""Clients that finish what they begin: whole handshakes, each with one request, by OpenSSL.

Rules: every connection is a new one without a session to resume, over X25519, and the server's
certificate is verified; latency counts from the first SYN to the first byte of the response.
"""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from proxy.app.bench.hello_clients import Answers
from proxy.app.bench.server import REQUEST

__all__ = ["honest_latencies", "whole_handshakes"]

_PATIENCE_S = 10.0
_HONEST_SOURCES = tuple(f"127.0.1.{number}" for number in range(2, 10))


def whole_handshakes(port: int, ca: Path, count: int, concurrency: int) -> Answers:
    """As fast as the server goes, by so many clients at once."""
    context = _context(ca)

    def one(_: int) -> bool:
        return _latency_s(port, context, "127.0.0.1") is not None

    with ThreadPoolExecutor(concurrency) as clients:
        done = sum(clients.map(one, range(count)))
    return Answers(done, count - done)


def honest_latencies(port: int, ca: Path, per_second: float, seconds: float) -> list[float | None]:
    """One client after the other, at most so many a second; None for one that failed."""
    context = _context(ca)
    found: list[float | None] = []
    due = began = time.monotonic()
    while due < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        source = _HONEST_SOURCES[len(found) % len(_HONEST_SOURCES)]
        found.append(_latency_s(port, context, source))
        due = max(due + 1 / per_second, time.monotonic())
    return found


def _context(ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ecdh_curve("X25519")  # newer OpenSSLs would send a key share three times as dear
    return context


def _latency_s(port: int, context: ssl.SSLContext, source: str) -> float | None:
    began = time.monotonic()
    try:
        with (
            socket.create_connection(
                ("127.0.0.1", port), timeout=_PATIENCE_S, source_address=(source, 0)
            ) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as channel,
        ):
            channel.sendall(REQUEST)
            if not channel.recv(4096):
                return None
            latency_s = time.monotonic() - began
            while channel.recv(4096):
                pass
            return latency_s
    except OSError:
        return None
