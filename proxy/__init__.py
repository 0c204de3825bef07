"""Vestibule: a TLS-terminating reverse proxy for when handshakes are what hurts."""

__version__ = "0.1.0.dev0"
