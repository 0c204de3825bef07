"""Tells the service manager how far we are: systemd's sd_notify(3) protocol, `Type=notify-reload`.

Rule: advice only. Without NOTIFY_SOCKET, or when nobody reads it, nothing happens.
"""

from __future__ import annotations

import os
import socket
import time

__all__ = ["notify_manager"]


def notify_manager(state: str, *, monotonic: bool = False) -> None:
    """Send `READY=1`, `RELOADING=1` (which wants the time beside it) or `STOPPING=1`."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if monotonic:
        state += f"\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
    # A leading @ stands for the abstract namespace.
    name = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
            channel.sendto(state.encode(), name)
    except OSError:
        return
