"""Clients as they should be, at a steady pace, in the background of a test."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.e2e.conftest import PAGE, Authority
from tests.e2e.deployment import LIMIT_S

__all__ = ["HonestClients"]


@dataclass
class HonestClients:
    """One after the other connects, fetches the page and leaves, in a thread, until stopped."""

    port: int
    authority: Authority
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._context = self.authority.trusting()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def fetch(self) -> None:
        """One client; its time is noted."""
        began = time.monotonic()
        connection = http.client.HTTPSConnection(
            "localhost", self.port, context=self._context, timeout=LIMIT_S
        )
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            if (answer.status, answer.read().decode()) != (200, PAGE):
                self.errors.append(str(answer.status))
        except OSError as error:
            self.errors.append(repr(error))
        finally:
            connection.close()
        self.seconds.append(time.monotonic() - began)

    def percentile_ms(self, share: float) -> float:
        """How long that share of the clients took at most."""
        return round(1000 * sorted(self.seconds)[int(share * (len(self.seconds) - 1))], 1)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            self.fetch()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
