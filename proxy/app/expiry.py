"""When certificates expire, as numbers to alert on: shown by whoever has the certificates."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.front import ListenerSettings
from proxy.telemetry import Metrics

__all__ = ["show_expiry"]

_FAMILY = "vestibule_certificate_expiry_timestamp_seconds"


def show_expiry(metrics: Metrics, listeners: Iterable[ListenerSettings]) -> None:
    """Show the certificates of these listeners, and no others any more."""
    metrics.clear(_FAMILY)
    for listener in listeners:
        for entry in listener.server_names:
            expiry_s = min(one.not_after_s for one in entry.certificates)
            for name in entry.names or ("default",):
                metrics.gauge(_FAMILY, listener.name, name).value = expiry_s
