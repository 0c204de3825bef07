"""What a process does to itself before it holds a secret.

Rules: no core dump and no attaching debugger (keys are in memory), as many descriptors as the hard
limit allows (a front holds one per half-open client). Failing to protect secrets ends the process.
"""

from __future__ import annotations

import ctypes
import os
import resource

__all__ = ["harden", "raise_descriptor_limit"]

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """Switch off core dumps and ptrace by others. Raises OSError."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")
    raise_descriptor_limit()


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = os.sysconf("SC_OPEN_MAX")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
