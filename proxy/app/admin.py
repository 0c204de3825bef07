"""The supervisor's admin servers: binding them, changing them on reload, closing them.

Owns both sockets. Rules: over TCP nothing changes state and nothing but metrics and health is told;
what changes state comes by the UNIX socket, mode 0600, from its own user or root. New addresses are
bound before a reload is decided, so that one that cannot be had refuses the reload.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from proxy.app.admin_http import HttpAdmin
from proxy.app.admin_socket import SocketAdmin
from proxy.app.desired import AdminAddresses
from proxy.app.failures import BindError
from proxy.app.listeners import bind_unix, inode_of, unlink_own
from proxy.app.office import Office
from proxy.front import BindAddress, Family

__all__ = ["Admin"]

_SOCKET_UMASK = 0o177  # 0600
_BACKLOG = 16
"""Scrapers and probes: a handful."""


@dataclass(slots=True)
class _Served:
    """One bound admin address with its server."""

    server: asyncio.Server
    local: str
    path: Path | None = None
    inode: tuple[int, int] = (0, 0)

    def close(self) -> None:
        self.server.close()
        if self.path is not None:
            unlink_own(self.path, self.inode)


@dataclass(frozen=True, slots=True)
class _Servers:
    addresses: AdminAddresses
    http: _Served | None
    socket: _Served | None

    @property
    def all(self) -> list[_Served]:
        return [item for item in (self.http, self.socket) if item is not None]


class Admin:
    """Both admin servers of a supervisor."""

    def __init__(self, office: Office) -> None:
        self._http = HttpAdmin(office)
        self._socket = SocketAdmin(office)
        self._servers = _Servers(AdminAddresses(listen=None, socket=None), None, None)

    @property
    def listen(self) -> str | None:
        """The TCP address really bound."""
        return None if self._servers.http is None else self._servers.http.local

    async def prepare(self, addresses: AdminAddresses) -> _Servers:
        """Bind what changes; what does not is taken over. Raises BindError, nothing changed."""
        present = self._servers
        http, unix = present.http, present.socket
        if addresses.listen != present.addresses.listen:
            http = await self._serve_http(addresses.listen)
        try:
            if addresses.socket != present.addresses.socket:
                unix = await self._serve_socket(addresses.socket)
        except BindError:
            if http is not None and http is not present.http:
                http.close()
            raise
        return _Servers(addresses, http, unix)

    def commit(self, servers: _Servers) -> None:
        """Use prepared servers; the ones they replace are closed."""
        former, self._servers = self._servers, servers
        for item in former.all:
            if item not in servers.all:
                item.close()

    def abandon(self, servers: _Servers) -> None:
        """Close what was only prepared."""
        for item in servers.all:
            if item not in self._servers.all:
                item.close()

    async def close(self) -> None:
        """Close everything, answers under way included."""
        self.commit(_Servers(AdminAddresses(listen=None, socket=None), None, None))
        await self._http.close()
        await self._socket.close()

    async def _serve_http(self, address: BindAddress | None) -> _Served | None:
        if address is None:
            return None
        family = socket.AF_INET6 if address.family is Family.INET6 else socket.AF_INET
        endpoint = socket.socket(family, socket.SOCK_STREAM)
        try:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            endpoint.bind((address.host, address.port))
        except OSError as error:
            endpoint.close()
            raise BindError(f"cannot listen on {address} (admin): {error.strerror}") from error
        host, port = endpoint.getsockname()[:2]
        server = await asyncio.start_server(
            self._http.serve, sock=endpoint, limit=self._http.head_limit, backlog=_BACKLOG
        )
        return _Served(server, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    async def _serve_socket(self, path: Path | None) -> _Served | None:
        if path is None:
            return None
        try:
            endpoint = bind_unix(path, _SOCKET_UMASK, _BACKLOG)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BindError(f"cannot listen on {path} (admin.socket): {reason}") from error
        server = await asyncio.start_unix_server(
            self._socket.serve, sock=endpoint, limit=self._socket.line_limit
        )
        return _Served(server, os.fspath(path), path, inode_of(path))
