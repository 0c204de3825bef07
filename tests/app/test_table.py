"""The status document as people see it."""

from __future__ import annotations

from typing import Any

from proxy.app.table import render

STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "phase": "running",
    "ready": True,
    "healthy": True,
    "reason": "",
    "generation": 3,
    "uptime_s": 3723.4,
    "last_reload": {"success": True, "at_s": None, "error": None},
    "listeners": [
        {"name": "public", "bind": "0.0.0.0:8443"},
        {"name": "inside", "bind": "unix:/run/vestibule/inside.sock"},
    ],
    "processes": [
        {
            "role": "front",
            "slot": 0,
            "restarts": 0,
            "state": "serving",
            "pid": 4711,
            "generation": 3,
            "uptime_s": 200000,
            "half_open": 12,
            "connections": 34,
        },
        {
            "role": "worker",
            "slot": 0,
            "restarts": 2,
            "state": "not answering",
            "pid": 4712,
            "generation": 3,
            "uptime_s": 75,
            "half_open": None,
            "connections": None,
        },
        {
            "role": "worker",
            "slot": 1,
            "restarts": 7,
            "state": "waiting to be restarted",
            "pid": None,
        },
    ],
    "backends": [
        {"backend": "app", "server": "https://10.0.0.5:443", "healthy_in": 2, "workers": 2},
        {"backend": "app", "server": "https://10.0.0.6:443", "healthy_in": 1, "workers": 2},
        {"backend": "api", "server": "http://10.0.0.7:80", "healthy_in": 0, "workers": 2},
    ],
}

TEXT = """\
vestibule 1.2.3: running, ready
generation 3, up 1h02m

LISTENER  ADDRESS
public    0.0.0.0:8443
inside    unix:/run/vestibule/inside.sock

PROCESS   PID   STATE                    GEN  UP     RESTARTS  HALF-OPEN  CONNECTIONS
front 0   4711  serving                  3    2d07h  0         12         34
worker 0  4712  not answering            3    1m15s  2         -          -
worker 1  -     waiting to be restarted  -    -      7         -          -

BACKEND  SERVER                HEALTH
app      https://10.0.0.5:443  up
app      https://10.0.0.6:443  up in 1 of 2 workers
api      http://10.0.0.7:80    down
"""


def test_the_whole_table() -> None:
    assert render(STATUS) == TEXT


def test_trouble_comes_first() -> None:
    reload = {"success": False, "at_s": 0.0, "error": "a.yaml:1:1: no\na.yaml:2:1: neither"}
    changed = {
        **STATUS,
        "ready": False,
        "reason": "no worker is serving",
        "uptime_s": 9,
        "last_reload": reload,
        "listeners": [],
        "processes": [],
        "backends": [],
    }
    lines = render(changed).splitlines()
    assert lines[0] == "vestibule 1.2.3: running, no worker is serving"
    assert lines[1] == "generation 3, up 9s"
    assert lines[2].startswith("last reload ")
    assert lines[2].endswith(": failed")
    assert lines[3:] == ["  a.yaml:1:1: no", "  a.yaml:2:1: neither"]
