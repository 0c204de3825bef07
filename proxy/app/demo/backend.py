"""The demo's HTTPS backend, a process of its own: echoes requests, so that one sees what arrives.

    python -m proxy.app.demo.backend --listen-fd N --life-fd N CERTIFICATE KEY

`GET /bytes/N` streams N bytes; everything else answers with the request as JSON: method, path,
fields, the body's length and SHA-256. Rules: bodies are hashed as they come, never kept; the
process ends when the pipe `--life-fd` does, so it cannot outlive the demo.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import signal
import socket
import ssl
import sys
from collections.abc import Sequence

import httptools

__all__ = ["main"]

_CHUNK = b"vestibule " * 6553
_MAX_BYTES = 1 << 40
_BYTES_PATH = re.compile(r"/bytes/([0-9]{1,13})")


class _Request:
    """One request, collected by httptools' callbacks."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: list[str] = []
        self.expects_continue = False
        self.length = 0
        self.digest = hashlib.sha256()


class _Exchange:
    """The callbacks of one connection; whole requests wait in `completed`."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._request = _Request()
        self.completed: list[_Request] = []

    def on_message_begin(self) -> None:
        self._request = _Request()

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.fields.append(f"{name.decode('latin-1')}: {value.decode('latin-1')}")
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._request.expects_continue = True

    def on_headers_complete(self) -> None:
        if self._request.expects_continue:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._request.length += len(body)
        self._request.digest.update(body)

    def on_message_complete(self) -> None:
        self.completed.append(self._request)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    exchange = _Exchange(writer)
    parser = httptools.HttpRequestParser(exchange)
    try:
        while data := await reader.read(65536):
            parser.feed_data(data)
            for request in exchange.completed:
                await _respond(writer, parser.get_method().decode(), request)
            exchange.completed.clear()
            if not parser.should_keep_alive():
                break
    except (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass  # a client of a demo that breaks off, or asks for what an echo does not have
    finally:
        writer.close()


async def _respond(writer: asyncio.StreamWriter, method: str, request: _Request) -> None:
    target = request.target.decode("latin-1")
    streamed = _BYTES_PATH.fullmatch(target.partition("?")[0])
    if streamed and method in ("GET", "HEAD") and int(streamed[1]) <= _MAX_BYTES:
        await _stream(writer, int(streamed[1]), send_body=method == "GET")
        return
    body = json.dumps(
        {
            "method": method,
            "path": target,
            "fields": request.fields,
            "body": {"bytes": request.length, "sha256": request.digest.hexdigest()},
        },
        indent=2,
    ).encode()
    writer.write(_head("application/json", len(body) + 1))
    if method != "HEAD":
        writer.write(body + b"\n")
    await writer.drain()


async def _stream(writer: asyncio.StreamWriter, size: int, *, send_body: bool) -> None:
    writer.write(_head("application/octet-stream", size))
    while send_body and size > 0:
        writer.write(_CHUNK[:size])
        size -= min(size, len(_CHUNK))
        await writer.drain()
    await writer.drain()


def _head(content_type: str, length: int) -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n"
        "Server: vestibule-demo-backend\r\n\r\n"
    ).encode()


async def _run(options: argparse.Namespace) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.certificate, options.key)
    listener = socket.socket(fileno=options.listen_fd)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(options.life_fd, ended.set)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await asyncio.start_server(_serve, sock=listener, ssl=context)
    await ended.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the life pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="vestibule-demo-backend")
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    parser.add_argument("certificate")
    parser.add_argument("key")
    asyncio.run(_run(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
