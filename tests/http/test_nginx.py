"""The good case: nginx behind TLS, as an operator would have it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.upstream import BackendTls
from tests.certs import ThrowAwayCa
from tests.http.rig import Rig
from tests.peers import Nginx

BODY = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def ca() -> ThrowAwayCa:
    return ThrowAwayCa()


@pytest.fixture(scope="module")
def nginx(ca: ThrowAwayCa, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    home: Path = tmp_path_factory.mktemp("nginx")
    (home / "files").mkdir()
    (home / "files" / "body.bin").write_bytes(BODY)
    locations = f"""
    location / {{ return 200 "$request_method $uri $host $http_x_forwarded_for"; }}
    location /connection {{ return 200 "$connection $connection_requests"; }}
    location /files {{ root {home}; dav_methods PUT; }}
    location /moved {{ return 302 /elsewhere; }}
    """
    with Nginx(home, certificate=ca.issue(["localhost"]), locations=locations) as server:
        yield server


def rig_for(nginx: Nginx, ca: ThrowAwayCa, *, trusted: bool = True) -> Rig:
    tls = BackendTls(ca_pem=(ca if trusted else ThrowAwayCa("other")).pem, server_name="localhost")
    return Rig(servers=(nginx.url,), tls=tls)


def request(method: bytes, path: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join(
        (method + b" " + path + b" HTTP/1.1", b"Host: example.org", *fields, b"", b"")
    )


async def test_requests_reach_nginx_over_one_verified_connection(
    nginx: Nginx, ca: ThrowAwayCa
) -> None:
    async with rig_for(nginx, ca) as rig, rig.client() as client:
        client.send(request(b"GET", b"/a?b", b"X-Forwarded-For: 6.6.6.6"))
        reply = await client.response()
        assert (reply.status, reply.body) == (200, b"GET /a example.org 127.0.0.1")
        connections = []
        for _ in range(3):
            client.send(request(b"GET", b"/connection"))
            connections.append((await client.response()).body.split())
        assert len({connection for connection, _ in connections}) == 1
        assert [int(count) for _, count in connections] == [2, 3, 4]
        client.send(request(b"HEAD", b"/moved"))
        reply = await client.response(to_head=True)
        assert reply.status == 302
        assert (reply.field(b"Location") or b"").endswith(b"/elsewhere")
        client.send(request(b"GET", b"/connection"))
        assert (await client.response()).status == 200


async def test_a_file_goes_up_and_comes_down_unchanged(nginx: Nginx, ca: ThrowAwayCa) -> None:
    digest = hashlib.sha256(BODY).digest()
    async with rig_for(nginx, ca) as rig, rig.client() as client:
        client.send(request(b"PUT", b"/files/up.bin", b"Content-Length: %d" % len(BODY)) + BODY)
        assert (await client.response()).status in (201, 204)
        coded = request(b"PUT", b"/files/coded.bin", b"Transfer-Encoding: chunked")
        pieces = (BODY[i : i + 9999] for i in range(0, len(BODY), 9999))
        client.send(coded + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces))
        client.send(b"0\r\n\r\n")
        assert (await client.response()).status in (201, 204)
        for name in (b"body", b"up", b"coded"):
            client.send(request(b"GET", b"/files/" + name + b".bin"))
            reply = await client.response()
            assert hashlib.sha256(reply.body).digest() == digest
        known = b"If-None-Match: " + (reply.field(b"ETag") or b"")
        client.send(request(b"GET", b"/files/coded.bin", known))
        reply = await client.response()
        assert (reply.status, reply.body) == (304, b"")


async def test_a_backend_that_cannot_prove_itself_gets_no_request(
    nginx: Nginx, ca: ThrowAwayCa
) -> None:
    before = nginx.access_log.read_text()
    async with rig_for(nginx, ca, trusted=False) as rig, rig.client() as client:
        client.send(request(b"GET", b"/secret"))
        assert (await client.response()).status == 502
        record = await rig.record()
        assert record.reason is not None
        assert record.attempts == 1
    assert nginx.access_log.read_text() == before
