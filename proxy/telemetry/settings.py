"""What is logged, and where.

Rules: values only; a path that is None means a standard stream, which is what a container and
systemd collect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LoggingSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings:
    """What is written about the work, and where."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe that is written."""
    format: Literal["json", "console"] = "json"
    """One JSON object per line, or lines for people."""
    access: Literal["json", "combined", "off"] = "json"
    """The access log's form."""
    file: str | None = None
    """Absolute path; None: standard error."""
    access_file: str | None = None
    """Absolute path; None: standard output."""
