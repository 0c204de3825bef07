"""The load, a process of its own whose CPU time is not counted.

    python -m proxy.app.bench.generator

Each line of standard input is a command as JSON, each line of standard output its answer:

    {"do": "flood", "port": 8443, "count": 500, "concurrency": 64, "seconds": 5}
    {"do": "hold", "port": 8443, "count": 2000, "concurrency": 64, "seconds": 5}
    {"do": "release"}
    {"do": "whole", "port": 8443, "ca": "ca.pem", "count": 200, "concurrency": 8}
    {"do": "honest", "port": 8443, "ca": "ca.pem", "per_second": 50, "seconds": 3}

Rule: the end of the input is the end of the process.
"""

from __future__ import annotations

import gc
import json
import signal
import sys
from pathlib import Path
from typing import Any

from proxy.app.bench.hello import Hellos
from proxy.app.bench.hello_clients import Answers, HelloClients
from proxy.app.bench.whole_clients import honest_latencies, whole_handshakes
from proxy.app.hardening import raise_descriptor_limit

__all__ = ["main"]


class _Generator:
    """Does what it is told, and remembers whom it keeps silent."""

    def __init__(self) -> None:
        self._hellos = Hellos("localhost")
        self._held: HelloClients | None = None

    def do(self, command: dict[str, Any]) -> dict[str, Any]:
        """Obey one command."""
        match command:
            case {"do": "flood", **rest}:
                clients, answers = self._hello(**rest, hold=False)
                clients.close()
                return _counted(answers)
            case {"do": "hold", **rest}:
                self._held, answers = self._hello(**rest, hold=True)
                return _counted(answers)
            case {"do": "release"}:
                if self._held is not None:
                    self._held.close()
                return {}
            case {"do": "whole", "port": port, "ca": ca, **rest}:
                return _counted(whole_handshakes(port, Path(ca), **rest))
            case {"do": "honest", "port": port, "ca": ca, **rest}:
                return {"latencies_s": honest_latencies(port, Path(ca), **rest)}
        raise ValueError(f"no such command: {command}")

    def _hello(
        self, port: int, count: int, concurrency: int, seconds: float, *, hold: bool
    ) -> tuple[HelloClients, Answers]:
        clients = HelloClients(port, self._hellos)
        return clients, clients.run(count, concurrency, seconds, hold=hold)


def _counted(answers: Answers) -> dict[str, Any]:
    return {"done": answers.done, "failed": answers.failed}


def main() -> int:
    """Obey until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise_descriptor_limit()
    gc.disable()  # nothing here is cyclic, and a pause would look like the server's
    generator = _Generator()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(generator.do(json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
