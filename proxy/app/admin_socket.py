"""The UNIX admin socket's protocol, both sides: one JSON line asks, one JSON line answers.

    {"command": "status"}      ->  {"ok": true, "status": {...}}
    {"command": "reload"}      ->  {"ok": true, "generation": 2}
                                   {"ok": false, "error": "vestibule.yaml:3:5: ..."}

Rules: the peer's uid must be ours or root's (SO_PEERCRED, besides the file's mode 0600); lines and
times are bounded.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import structlog

from proxy.app.failures import OperatorError
from proxy.app.office import Office

__all__ = ["AdminUnreachable", "SocketAdmin", "ask"]

_log = structlog.get_logger("vestibule.admin")

_LINE_LIMIT_BYTES = 65536
_REQUEST_S = 5.0
_RELOAD_S = 120.0
"""Longest a reload can take: every phase has its own, shorter limit."""
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid (unix(7))


class AdminUnreachable(Exception):
    """No supervisor answers at this path. The text says why."""


class SocketAdmin:
    """Answers commands on the UNIX socket."""

    line_limit = _LINE_LIMIT_BYTES

    def __init__(self, office: Office) -> None:
        self._office = office
        self._serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end; never raises."""
        task = asyncio.current_task()
        if task is None:
            return
        self._serving.add(task)
        try:
            answer = await self._answer(reader, _peer_uid(writer))
            writer.write(json.dumps(answer).encode() + b"\n")
            async with asyncio.timeout(_REQUEST_S):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, ValueError):
            writer.transport.abort()
        except Exception as error:
            _log.error("admin_command_failed", error=repr(error))
            writer.transport.abort()
        finally:
            self._serving.discard(task)

    async def close(self) -> None:
        """End what is being served."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, uid: int) -> dict[str, Any]:
        if uid not in (0, os.geteuid()):
            _log.warning("admin_peer_refused", uid=uid)
            return {"ok": False, "error": "not permitted"}
        async with asyncio.timeout(_REQUEST_S):
            line = await reader.readline()
        try:
            request = json.loads(line)
        except ValueError:
            request = None
        command = request.get("command") if isinstance(request, dict) else None
        match command:
            case "status":
                return {"ok": True, "status": await self._office.overview()}
            case "reload":
                return await self._reload()
            case _:
                return {"ok": False, "error": "expected a command: status or reload"}

    async def _reload(self) -> dict[str, Any]:
        try:
            return {"ok": True, "generation": await self._office.reload()}
        except OperatorError as error:
            return {"ok": False, "error": str(error)}


def ask(path: Path, command: str) -> dict[str, Any]:
    """Send a command to a running supervisor and return its answer. Raises AdminUnreachable."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(_RELOAD_S)
            channel.connect(os.fspath(path))
            channel.sendall(json.dumps({"command": command}).encode() + b"\n")
            parts: list[bytes] = []
            while part := channel.recv(65536):
                parts.append(part)
    except OSError as error:
        raise AdminUnreachable(f"{path}: {error.strerror or error}") from error
    try:
        answer = json.loads(b"".join(parts))
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise AdminUnreachable(f"{path}: no answer")
    return answer


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(credentials)[1]
    return uid
