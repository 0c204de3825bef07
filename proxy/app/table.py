"""The status document as text for people: what `vestibule status` prints. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

__all__ = ["render"]


def render(status: dict[str, Any]) -> str:
    """The document in a few aligned blocks."""
    blocks = [_summary(status), _listeners(status), _processes(status), _backends(status)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _summary(status: dict[str, Any]) -> str:
    verdict = "ready" if status["ready"] and status["healthy"] else status["reason"]
    lines = [
        f"vestibule {status['version']}: {status['phase']}, {verdict}",
        f"generation {status['generation']}, up {_duration(status['uptime_s'])}",
    ]
    reload = status["last_reload"]
    if reload["at_s"] is not None:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(reload["at_s"]))
        lines.append(f"last reload {at}: {'succeeded' if reload['success'] else 'failed'}")
    if reload["error"]:
        lines += [f"  {line}" for line in str(reload["error"]).splitlines()]
    return "\n".join(lines)


def _listeners(status: dict[str, Any]) -> str:
    rows = [(item["name"], item["bind"]) for item in status["listeners"]]
    return _table(("LISTENER", "ADDRESS"), rows)


def _processes(status: dict[str, Any]) -> str:
    head = ("PROCESS", "PID", "STATE", "GEN", "UP", "RESTARTS", "HALF-OPEN", "CONNECTIONS")
    rows = [
        (
            f"{item['role']} {item['slot']}",
            _or_dash(item["pid"]),
            item["state"],
            _or_dash(item.get("generation")),
            "-" if item.get("uptime_s") is None else _duration(item["uptime_s"]),
            str(item["restarts"]),
            _or_dash(item.get("half_open")),
            _or_dash(item.get("connections")),
        )
        for item in status["processes"]
    ]
    return _table(head, rows)


def _backends(status: dict[str, Any]) -> str:
    rows = [
        (item["backend"], item["server"], _health(item["healthy_in"], item["workers"]))
        for item in status["backends"]
    ]
    return _table(("BACKEND", "SERVER", "HEALTH"), rows)


def _health(healthy: int, workers: int) -> str:
    if healthy == workers:
        return "up"
    return "down" if healthy == 0 else f"up in {healthy} of {workers} workers"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    if minutes:
        return f"{minutes}m{whole % 60:02}s"
    return f"{whole}s"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    )
