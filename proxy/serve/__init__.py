"""Established connections in a worker: how they come in, and how bytes are relayed."""

from proxy.serve.intake import Arrival, Intake
from proxy.serve.relay import Relay, RelayBroken
from proxy.serve.tcp import TcpOutcome, serve_tcp

__all__ = ["Arrival", "Intake", "Relay", "RelayBroken", "TcpOutcome", "serve_tcp"]
