"""Sealed memory files: how a payload travels that fits no message.

Owns making and reading them. Rules: the bytes exist only in anonymous memory; the file is sealed
against every change before it is sent, and a receiver refuses one that is not, or whose size is
not the announced one, so that what was measured is what is read.
"""

from __future__ import annotations

import fcntl
import os

from proxy.handoff.errors import ChannelError

__all__ = ["read_sealed", "sealed"]

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NOEXEC_SEAL = 0x0008  # MFD_NOEXEC_SEAL, Linux 6.3: required where vm.memfd_noexec is 2


def sealed(payload: bytes) -> int:
    """Return a new descriptor of a sealed memory file with the payload. Raises OSError."""
    descriptor = _anonymous_file()
    try:
        view = memoryview(payload)
        while view:
            view = view[os.write(descriptor, view) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_sealed(descriptor: int, length: int) -> bytes:
    """Return the `length` bytes of a sealed memory file. Raises ChannelError when it is not one.

    The descriptor stays the caller's.
    """
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ChannelError("not a memory file") from error
    if seals & _SEALS != _SEALS:
        raise ChannelError("a memory file that is not sealed")
    if os.fstat(descriptor).st_size != length:
        raise ChannelError("a memory file of another size than announced")
    parts: list[bytes] = []
    position = 0
    while position < length:
        part = os.pread(descriptor, length - position, position)
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def _anonymous_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("vestibule-handoff", flags | _NOEXEC_SEAL)
    except OSError:
        return os.memfd_create("vestibule-handoff", flags)
