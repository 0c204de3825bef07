"""What a process does to itself, seen from inside one that did it."""

from __future__ import annotations

import json
import subprocess
import sys

HARDENED = """
import ctypes, json, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from proxy.app.hardening import harden
harden()
print(json.dumps({
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE),
}))
"""


def test_no_dump_no_debugger_all_descriptors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HARDENED], capture_output=True, text=True, check=True
    )
    facts = json.loads(done.stdout)
    assert facts["dumpable"] == 0
    assert facts["core"] == [0, 0]
    soft, hard = facts["descriptors"]
    assert soft == hard > 64
