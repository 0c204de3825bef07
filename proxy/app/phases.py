"""The named phases of the supervisor's life, in the order in which they are passed.

Rules: a phase is entered once, except that `RELOADING` leads back to `RUNNING`; phases only move
forward otherwise. They are shown by `vestibule status`, logged at each change, and are what
readiness is computed from (shape: pingora's ExecutionPhase).
"""

from __future__ import annotations

from enum import Enum

__all__ = ["MOVES", "Phase"]


class Phase(Enum):
    """Where the supervisor stands. The value is the word operators see."""

    SETUP = "setup"
    """The configuration is read; nothing is open yet."""
    BINDING = "binding"
    """Listening and admin sockets are being bound; clients' connections may already queue."""
    STARTING = "starting"
    """Children run; they prepare and commit the first generation."""
    RUNNING = "running"
    """Clients are served."""
    RELOADING = "reloading"
    """Clients are served by generation N while N+1 is being prepared."""
    DRAINING = "draining"
    """Nothing is accepted any more; children finish what they have, up to the drain deadline."""
    STOPPING = "stopping"
    """The deadline has passed or was waived: children are killed, sockets and files removed."""
    ENDED = "ended"
    """No child is left; the exit status is known."""


MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.SETUP: frozenset({Phase.BINDING, Phase.STOPPING}),
    Phase.BINDING: frozenset({Phase.STARTING, Phase.STOPPING}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.STOPPING}),
    Phase.RUNNING: frozenset({Phase.RELOADING, Phase.DRAINING, Phase.STOPPING}),
    Phase.RELOADING: frozenset({Phase.RUNNING, Phase.DRAINING, Phase.STOPPING}),
    Phase.DRAINING: frozenset({Phase.STOPPING}),
    Phase.STOPPING: frozenset({Phase.ENDED}),
    Phase.ENDED: frozenset(),
}
"""Every legal move; a test walks it."""
