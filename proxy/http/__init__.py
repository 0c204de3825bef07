"""HTTP/1.1 from client to backend and back: heads, framing, routes, one request's phases."""

from __future__ import annotations

from proxy.http.connection import HttpConnection, serve_http
from proxy.http.phases import Phase, table
from proxy.http.record import ClientFacts, Observer, RequestRecord
from proxy.http.routes import Route, RouteTable
from proxy.http.settings import HttpSettings

__all__ = [
    "ClientFacts",
    "HttpConnection",
    "HttpSettings",
    "Observer",
    "Phase",
    "RequestRecord",
    "Route",
    "RouteTable",
    "serve_http",
    "table",
]
