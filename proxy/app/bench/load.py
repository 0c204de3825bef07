"""Our end of the load processes: one that floods, one for honest clients beside it.

Rules: a burst of which more than one client in a hundred fails gives no number, since what failed
cost something else; a load process that dies ends the bench.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proxy.app.bench.figures import percentile
from proxy.app.bench.rotation import BurstFailed
from proxy.app.children import child_environment
from proxy.app.failures import OperatorError

__all__ = ["Load", "checked"]

_COMMAND = (sys.executable, "-P", "-m", "proxy.app.bench.generator")
_STOP_S = 5.0
_CONCURRENCY = 64
_WHOLE_CONCURRENCY = 8
_LONGEST_S = 10.0
_FLOODERS = 256
"""Hellos under way at once in a flood."""
_FLOOD_LEAD_S = 0.5
_NICE_FLOOD = 10
"""The flood yields to clients whose latency is measured: only the server may delay them."""
_HONEST_PER_S = 50.0
_TOLERATED = 0.01


def checked(done: int, failed: int) -> int:
    """How many got done. Raises BurstFailed when too many did not."""
    if failed > _TOLERATED * (done + failed):
        raise BurstFailed(f"{failed} of {done + failed} clients failed")
    return done


class _Process:
    """One generator."""

    def __init__(self, core: int | None, nice: int = 0) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
            env=child_environment(os.environ),
            text=True,
        )
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, self._process.pid, ours + nice)

    def tell(self, **command: Any) -> None:
        """Give a command."""
        if self._process.stdin is None:
            raise RuntimeError("no pipe")
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._gone() from error

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the oldest command without one."""
        if self._process.stdout is None:
            raise RuntimeError("no pipe")
        try:
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        except ValueError:
            raise self._gone() from None
        return answer

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _gone(self) -> OperatorError:
        return OperatorError("the load process has ended before its time")


class Load:
    """Drives both load processes; `with` bounds their life."""

    def __init__(self, ca: Path, core: int | None) -> None:
        self._ca = str(ca)
        self._flooding = _Process(core, _NICE_FLOOD)
        self._honest = _Process(core)

    def abandoned_hellos(self, port: int, count: int) -> int:
        """Clients that say hello, take the answer and vanish."""
        return self._hellos("flood", port, count)

    @contextlib.contextmanager
    def half_open(self, port: int, count: int) -> Iterator[int]:
        """Clients that say hello, take the answer and fall silent, for as long as this lasts."""
        try:
            yield self._hellos("hold", port, count)
        finally:
            self._flooding.tell(do="release")
            self._flooding.answer()

    def whole_handshakes(self, port: int, count: int) -> int:
        """Clients that complete the handshake, and ask once."""
        self._flooding.tell(
            do="whole", port=port, ca=self._ca, count=count, concurrency=_WHOLE_CONCURRENCY
        )
        return checked(**self._flooding.answer())

    def honest_in_flood(self, port: int, seconds: float) -> dict[str, float]:
        """Latency of clients that come one by one while 256 others say hello all the time."""
        flood_s = seconds + _FLOOD_LEAD_S
        self._flooding.tell(
            do="flood", port=port, count=1 << 30, concurrency=_FLOODERS, seconds=flood_s
        )
        time.sleep(_FLOOD_LEAD_S)
        self._honest.tell(
            do="honest", port=port, ca=self._ca, per_second=_HONEST_PER_S, seconds=seconds
        )
        latencies = self._honest.answer()["latencies_s"]
        checked(**self._flooding.answer())
        known = sorted(one for one in latencies if one is not None)
        checked(len(known), len(latencies) - len(known))
        return {
            "p50_ms": percentile(known, 50) * 1e3,
            "p99_ms": percentile(known, 99) * 1e3,
        }

    def _hellos(self, what: str, port: int, count: int) -> int:
        self._flooding.tell(
            do=what, port=port, count=count, concurrency=_CONCURRENCY, seconds=_LONGEST_S
        )
        return checked(**self._flooding.answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._flooding.stop()
        self._honest.stop()
