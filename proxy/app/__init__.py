"""The processes: a supervisor, its fronts and workers, and what administrators see of them.

What it exports is imported when it is first used: a child imports this package too, and has no use
for the supervisor's half.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.app.admin_socket import AdminUnreachable, ask
    from proxy.app.bench.bench import BenchOptions, run_bench
    from proxy.app.demo.demo import run_demo
    from proxy.app.failures import LoadFailed, OperatorError
    from proxy.app.launch import run
    from proxy.app.table import render

__all__ = [
    "AdminUnreachable",
    "BenchOptions",
    "LoadFailed",
    "OperatorError",
    "ask",
    "render",
    "run",
    "run_bench",
    "run_demo",
]

_HOMES = {
    "AdminUnreachable": "admin_socket",
    "BenchOptions": "bench.bench",
    "LoadFailed": "failures",
    "OperatorError": "failures",
    "ask": "admin_socket",
    "render": "table",
    "run": "launch",
    "run_bench": "bench.bench",
    "run_demo": "demo.demo",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
