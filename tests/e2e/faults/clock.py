"""A wall clock of its own for all processes of a proxy, which a test steps while they run.

libfaketime shifts what they read of CLOCK_REALTIME by a file's content; CLOCK_MONOTONIC is left as
it is, as on a machine whose administrator or NTP sets the time. Children of the supervisor get a
filtered environment without LD_PRELOAD, so a sitecustomize of this package starts each of them
once more, in the same process, with it.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["WallClock"]

_LIBRARY = "faketime/libfaketimeMT.so.1"
_ROOT = Path(__file__).resolve().parents[3]
_PLACES = (Path("/usr/lib"), Path("/usr/local/lib"))

_SITECUSTOMIZE = """\
import os, sys

if {library!r} not in os.environ.get("LD_PRELOAD", ""):
    os.execve(sys.executable, sys.orig_argv, {{**os.environ, **{environment!r}}})
"""


class WallClock:
    """`environment` is the proxy's; `step` moves its time."""

    def __init__(self, directory: Path, library: Path) -> None:
        self._offset = directory / "offset"
        self.step(0)
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
        (directory / "sitecustomize.py").write_text(
            _SITECUSTOMIZE.format(library=str(library), environment=environment)
        )
        self.environment = {"PYTHONPATH": f"{directory}:{_ROOT}"}

    @classmethod
    def library(cls) -> Path | None:
        """libfaketime, where it is installed (Debian: faketime)."""
        found = (path for place in _PLACES for path in place.glob(f"*/{_LIBRARY}"))
        return next(found, None)

    def step(self, seconds: int) -> None:
        """Let the time be so far from the true one from now on."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.replace(self._offset)
