"""What is known of the running processes, as values: health, readiness, and the status document.

Rules: pure functions of the fleet and of children's answers; the document is plain JSON, and what
`vestibule status` prints is made from nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy import __version__
from proxy.app.children import Child
from proxy.app.fleet import Fleet, Slot
from proxy.app.phases import Phase
from proxy.app.planner import crash_looping
from proxy.app.reload import Generation
from proxy.app.role import FRONT, WORKER

__all__ = ["Health", "Reload", "health", "overview"]


@dataclass(frozen=True, slots=True)
class Reload:
    """How the last reload went; at first there was none, which counts as success."""

    success: bool = True
    at_s: float | None = None
    """Seconds since the epoch."""
    error: str | None = None

    @classmethod
    def succeeded(cls) -> Reload:
        """A reload that was committed just now."""
        return cls(True, time.time())

    @classmethod
    def failed(cls, error: str) -> Reload:
        """A reload that left the old generation just now."""
        return cls(False, time.time(), error)


@dataclass(frozen=True, slots=True)
class Health:
    """What probes are told; the reasons are empty where all is well."""

    sick: str = ""
    """Why a restart may be needed: `/healthz`."""
    unready: str = ""
    """Why no clients should be sent here: `/readyz`."""


def health(phase: Phase, generation: int, fleet: Fleet, now: float) -> Health:
    """Judge the processes."""
    looping = [
        f"{slot.role} {slot.number}" for slot in fleet.slots if crash_looping(slot.facts, now)
    ]
    sick = f"crash-looping: {', '.join(looping)}" if looping else ""
    if phase not in (Phase.RUNNING, Phase.RELOADING):
        return Health(sick, phase.value)
    for role in (FRONT, WORKER):
        # While reloading, the old generation serves as well as the new one.
        serving = [
            child
            for child in fleet.of(role)
            if child.generation == generation or (child.generation and phase is Phase.RELOADING)
        ]
        if not any(not child.draining for child in serving):
            return Health(sick, f"no {role} is serving")
    return Health(sick)


def overview(
    *,
    phase: Phase,
    generation: Generation | None,
    reload: Reload,
    uptime_s: float,
    fleet: Fleet,
    answers: Mapping[Child, dict[str, Any]],
    now: float,
) -> dict[str, Any]:
    """The status document."""
    judged = health(phase, 0 if generation is None else generation.number, fleet, now)
    listeners = []
    if generation is not None:
        listeners = [
            {"name": address.listener, "bind": generation.sockets.local(address)}
            for address in generation.sockets.addresses
        ]
    return {
        "version": __version__,
        "phase": phase.value,
        "ready": not judged.unready,
        "healthy": not judged.sick,
        "reason": judged.unready or judged.sick,
        "generation": 0 if generation is None else generation.number,
        "uptime_s": round(uptime_s, 3),
        "last_reload": {"success": reload.success, "at_s": reload.at_s, "error": reload.error},
        "listeners": listeners,
        "processes": [
            _process(slot, answers, now)
            for slot in fleet.slots
            if slot.child is not None or _wanted(slot, generation)
        ],
        "backends": _backends(
            answer for child, answer in answers.items() if child.role == WORKER and answer
        ),
    }


def _wanted(slot: Slot, generation: Generation | None) -> bool:
    return generation is not None and slot.number < generation.desired.processes[slot.role]


def _process(slot: Slot, answers: Mapping[Child, dict[str, Any]], now: float) -> dict[str, Any]:
    child = slot.child
    facts: dict[str, Any] = {"role": slot.role, "slot": slot.number, "restarts": slot.restarts}
    if child is None:
        return {**facts, "state": "waiting to be restarted", "pid": None}
    answer = answers.get(child, {})
    if child.draining:
        state = "draining"
    elif not child.generation:
        state = "starting"
    else:
        state = "serving" if answer else "not answering"
    return {
        **facts,
        "state": state,
        "pid": child.pid,
        "generation": child.generation,
        "uptime_s": round(now - child.started_at, 3),
        "half_open": answer.get("half_open"),
        "connections": answer.get("connections"),
    }


def _backends(answers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per backend server: workers judge it each for themselves, so count them."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for answer in answers:
        for backend, servers in answer.get("backends", {}).items():
            for server, facts in servers.items():
                row = rows.setdefault(
                    (backend, server),
                    {"backend": backend, "server": server, "healthy_in": 0, "workers": 0},
                )
                row["workers"] += 1
                row["healthy_in"] += bool(facts.get("healthy"))
    return [rows[key] for key in sorted(rows)]
