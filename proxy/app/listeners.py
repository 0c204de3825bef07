"""The listening sockets: one per front slot and bind address, owned by the supervisor.

Rules: TCP addresses are bound once per front slot with SO_REUSEPORT, so each front has an accept
queue of its own that outlives it; a UNIX path is bound once and shared. A change is a Prospect,
bound completely or not at all, that is committed or abandoned. A path is unlinked only if it is
still the socket that was bound here, and never if it is something else than a dead socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from proxy.app.failures import BindError
from proxy.app.messages import MAX_DESCRIPTORS, ListenerSocket
from proxy.front import BindAddress, Family

__all__ = ["ListenAddress", "Listeners", "Prospect", "bind_unix", "inode_of", "unlink_own"]

Key: TypeAlias = tuple[str, bool]
"""What makes a socket: an address that only changes its listener's name keeps it."""

_SOCKET_UMASK = 0o117  # 0660: the owner and its group connect


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """One bind address of one listener."""

    listener: str
    """The listener's name."""
    address: BindAddress
    """Where; port 0 lets the kernel choose one, the same for all fronts."""
    dual_stack: bool = False
    """Whether an IPv6 address takes IPv4 clients too."""
    backlog: int = 4096
    """Connections the kernel completes while a front is busy or being replaced."""

    @property
    def bind(self) -> str:
        """The address as text: `ADDRESS:PORT`, `[ADDRESS]:PORT` or `unix:PATH`."""
        return str(self.address)

    @property
    def key(self) -> Key:
        """What makes its sockets."""
        return self.bind, self.dual_stack


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """One listening socket; `path` and `inode` say which file is its own.

    The port is kept, because status still tells it when the socket is closed.
    """

    socket: socket.socket
    port: int | None = None
    path: Path | None = None
    inode: tuple[int, int] = (0, 0)

    def close(self) -> None:
        self.socket.close()
        if self.path is not None:
            unlink_own(self.path, self.inode)


@dataclass(frozen=True, slots=True)
class Prospect:
    """The addresses of a coming generation, all of them bound."""

    addresses: tuple[ListenAddress, ...] = ()
    bound: dict[Key, tuple[_Bound, ...]] = field(default_factory=dict)
    """By front slot; a single one is shared by all."""

    @property
    def all(self) -> set[_Bound]:
        """Every socket of it."""
        return {item for items in self.bound.values() for item in items}

    @property
    def binds(self) -> list[str]:
        """Where it really listens, in the configuration's order."""
        return [self.local(address) for address in self.addresses]

    def of_front(self, slot: int) -> tuple[ListenerSocket, ...]:
        """The sockets for the front in this slot; they stay the supervisor's."""
        sockets: list[ListenerSocket] = []
        for address in self.addresses:
            items = self.bound[address.key]
            item = items[0] if len(items) == 1 else items[slot]
            sockets.append(ListenerSocket(address.listener, address.bind, item.socket.fileno()))
        return tuple(sockets)

    def local(self, address: ListenAddress) -> str:
        """The address really bound: with the port the kernel chose where port 0 was asked for."""
        port = self.bound[address.key][0].port
        return address.bind if port is None else str(replace(address.address, port=port))


class Listeners:
    """All listening sockets of this supervisor."""

    def __init__(self) -> None:
        self._present = Prospect()

    def prepare(self, addresses: Sequence[ListenAddress], fronts: int) -> Prospect:
        """Bind what is not bound yet. Raises BindError with everything as it was before."""
        if len(addresses) >= MAX_DESCRIPTORS:
            raise BindError(f"{len(addresses)} addresses, at most {MAX_DESCRIPTORS - 1}")
        prospect = Prospect(tuple(addresses))
        try:
            for address in addresses:
                if address.key in prospect.bound:
                    raise BindError(f"cannot listen on {address.bind}: it is listed twice")
                present = self._present.bound.get(address.key, ())
                prospect.bound[address.key] = self._bind(address, present[:fronts], fronts)
        except BindError:
            self.abandon(prospect)
            raise
        return prospect

    def commit(self, prospect: Prospect) -> None:
        """Keep a prospect's sockets and close the others here.

        Fronts still hold the removed ones: closing ours first makes theirs the last, so that what
        is queued when they close is nothing but the instant between their last accept and close.
        """
        former, self._present = self._present, prospect
        for item in former.all - prospect.all:
            item.close()

    def abandon(self, prospect: Prospect) -> None:
        """Close what only this prospect had bound."""
        for item in prospect.all - self._present.all:
            item.close()

    def close(self) -> None:
        """Close everything; idempotent."""
        self.commit(Prospect())

    def _bind(
        self, address: ListenAddress, present: tuple[_Bound, ...], fronts: int
    ) -> tuple[_Bound, ...]:
        try:
            if address.address.family is Family.UNIX:
                return present or (_bind_shared(address),)
            if not any(item.port == address.address.port for item in self._present.all):
                _probe(address)
            return present + _bind_more(address, present, fronts)
        except OSError as error:
            reason = error.strerror or str(error)
            raise BindError(f"cannot listen on {address.bind}: {reason}") from error


def bind_unix(path: Path, umask: int, backlog: int) -> socket.socket:
    """Listen on a UNIX path, in place of a dead socket there. Raises OSError.

    The mode comes from the umask, so there is no instant with a wider one.
    """
    _remove_stale(path)
    item = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(umask)
    try:
        item.bind(str(path))
        item.listen(backlog)
    except OSError:
        item.close()
        raise
    finally:
        os.umask(before)
    return item


def inode_of(path: Path) -> tuple[int, int]:
    """What tells a file from another that later has its name."""
    status = path.lstat()
    return status.st_dev, status.st_ino


def unlink_own(path: Path, inode: tuple[int, int]) -> None:
    """Remove a socket's file, unless somebody else's is there by now."""
    with contextlib.suppress(FileNotFoundError):
        if inode_of(path) == inode:
            path.unlink()


def _bind_shared(address: ListenAddress) -> _Bound:
    path = Path(address.address.host)
    item = bind_unix(path, _SOCKET_UMASK, address.backlog)
    return _Bound(item, None, path, inode_of(path))


def _bind_more(
    address: ListenAddress, present: tuple[_Bound, ...], fronts: int
) -> tuple[_Bound, ...]:
    """The sockets that are missing for so many fronts, on the port of those present."""
    port = (present[0].port if present else None) or address.address.port
    made: list[socket.socket] = []
    try:
        for _ in range(fronts - len(present)):
            item = _tcp_socket(address)
            made.append(item)
            item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Accepted sockets inherit it: one system call less per connection.
            item.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            item.bind((address.address.host, port))
            port = item.getsockname()[1]
        for item in made:
            item.listen(address.backlog)
    except OSError:
        for item in made:
            item.close()
        raise
    return tuple(_Bound(item, port) for item in made)


def _probe(address: ListenAddress) -> None:
    """Raise OSError if another program listens there.

    SO_REUSEPORT alone would let a second instance share the port in silence and take half of the
    connections; without it the kernel objects.
    """
    if address.address.port:
        with _tcp_socket(address) as probe:
            probe.bind((address.address.host, address.address.port))


def _tcp_socket(address: ListenAddress) -> socket.socket:
    inet6 = address.address.family is Family.INET6
    item = socket.socket(
        socket.AF_INET6 if inet6 else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    )
    item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if inet6:
        item.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.dual_stack else 1)
    return item


def _remove_stale(path: Path) -> None:
    """Unlink a socket file nobody listens on; raise OSError if it is in use or something else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its queue is full: somebody listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
