"""What a configuration asks of the process side, and nothing else of it.

Owns the step from a Configuration to the supervisor's wishes: addresses, counts, sealed snapshots.
Rule: snapshots hold private keys; they never show in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proxy.app.listeners import ListenAddress
from proxy.front import BindAddress

__all__ = ["AdminAddresses", "Desired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminAddresses:
    """Where the supervisor answers administrators."""

    listen: BindAddress | None
    """TCP address of metrics and health, e.g. 127.0.0.1:9180; None: none."""
    socket: Path | None
    """UNIX socket of `status` and `reload`, mode 0600; None: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The process side of one configuration."""

    addresses: tuple[ListenAddress, ...]
    """Everything to listen on."""
    processes: Mapping[str, int]
    """How many children of each role."""
    drain_s: float
    """How long connections may go on after SIGTERM, seconds."""
    stuck_s: float
    """How long a child may leave the supervisor without an answer, seconds."""
    admin: AdminAddresses
    """Where administrators ask."""
    snapshots: Mapping[str, bytes] = field(repr=False)
    """What a child of each role is sent."""
