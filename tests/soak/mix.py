"""Everything that a proxy can meet at once, at a low rate: honest clients, floods in waves, clients
that vanish at any point, large transfers both ways, and a reload with a new certificate a minute.

Rules: each kind of load has a thread of its own, which ends at its next step; what goes wrong is
noted and the load goes on; only attackers and clients that vanish may see an error.
"""

from __future__ import annotations

import http.client
import random
import signal
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.e2e.attacks.attackers import ATTACKS
from tests.e2e.attacks.driver import Driver
from tests.e2e.attacks.victims import Figures, Victims
from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import LIMIT_S, Vestibule, eventually
from tests.e2e.faults.steps import StepClient

__all__ = ["LARGE_BYTES", "Mix", "Tally"]

LARGE_BYTES = 8 << 20

_WAVE_S, _CALM_S = 7.0, 5.0
_ATTACKERS_PER_S = 300.0
_ABORTS_EVERY_S = 0.25
_TRANSFERS_EVERY_S = 2.0
_RELOADS_EVERY_S = 60.0
_HANDSHAKES, _REQUESTS = 25, 200
"""Of honest clients in one measurement: 5 s of theirs."""
_WAVES = tuple(name for name in ATTACKS if not name.startswith("tolerated"))
"""Those that are tolerated have no rate that could be low."""


@dataclass
class Tally:
    """What the load has done so far."""

    waves: int = 0
    attackers: int = 0
    aborts: int = 0
    transfers: int = 0
    reloads: int = 0
    measured: list[Figures] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        handshakes = sum(one.handshakes for one in self.measured)
        requests = sum(one.requests for one in self.measured)
        return (
            f"{handshakes} honest handshakes, {requests} keep-alive requests, "
            f"{self.transfers} transfers of {LARGE_BYTES >> 20} MiB, {self.reloads} reloads, "
            f"{self.waves} waves with {self.attackers} attackers, {self.aborts} aborted clients, "
            f"{len(self.errors)} errors"
        )


class Mix:
    """All load on one proxy; `with` bounds it."""

    def __init__(
        self,
        proxy: Vestibule,
        ports: Sequence[int],
        authority: Authority,
        backend: Backend,
        victims: Sequence[Victims],
        driver: Driver,
    ) -> None:
        """`ports` are the proxy's; each of `victims` is in front of one of them."""
        self.tally = Tally()
        self._proxy = proxy
        self._ports = ports
        self._authority = authority
        self._context = authority.trusting()
        self._driver = driver
        self._chance = random.Random(1)  # noqa: S311  which client vanishes when
        (backend.root / "large").write_bytes(self._chance.randbytes(LARGE_BYTES))
        self._stop = threading.Event()
        work = [
            (_CALM_S, self._wave),
            (_ABORTS_EVERY_S, self._abort),
            (_TRANSFERS_EVERY_S, self._transfer),
            (_RELOADS_EVERY_S, self._reload),
            *((0.0, lambda one=one: self._measure(one)) for one in victims),
        ]
        self._threads = [
            threading.Thread(target=self._repeat, args=one, daemon=True) for one in work
        ]

    def _repeat(self, every_s: float, work: Callable[[], None]) -> None:
        while not self._stop.wait(every_s):
            try:
                work()
            except (AssertionError, OSError, ssl.SSLError) as error:
                self.tally.errors.append(f"{work}: {error!r}")

    def _wave(self) -> None:
        name = _WAVES[self.tally.waves % len(_WAVES)]
        port = self._ports[self.tally.waves // len(_WAVES) % len(self._ports)]
        self._driver.begin(name, port, per_s=_ATTACKERS_PER_S)
        self._stop.wait(_WAVE_S)
        self.tally.attackers += self._driver.end().opened
        self.tally.waves += 1

    def _abort(self) -> None:
        """A client that goes after some step, by FIN or RST."""
        with StepClient(self._chance.choice(self._ports)) as client:
            steps = (client.hello, client.answer, client.flight, client.reply, client.text)
            for step in steps[: self._chance.randrange(len(steps) + 1)]:
                step()
            if self._chance.random() < 0.5:
                client.reset()
        self.tally.aborts += 1

    def _transfer(self) -> None:
        """A large answer, sent back as a large request on the same connection."""
        port = self._chance.choice(self._ports)
        connection = http.client.HTTPSConnection(
            "localhost", port, context=self._context, timeout=LIMIT_S
        )
        try:
            connection.request("GET", "/large")
            body = connection.getresponse().read()
            assert len(body) == LARGE_BYTES
            connection.request("PUT", f"/upload/{self.tally.transfers % 4}", body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in {201, 204}, answer.status
        except http.client.HTTPException as error:
            raise ConnectionError(repr(error)) from error
        finally:
            connection.close()
        self.tally.transfers += 2

    def _reload(self) -> None:
        before = self._proxy.metric("vestibule_configuration_generation")
        self._authority.files()
        self._proxy.signal(signal.SIGHUP)
        eventually(lambda: self._proxy.metric("vestibule_configuration_generation") > before)
        self.tally.reloads += 1

    def _measure(self, victims: Victims) -> None:
        figures = victims.measure(_HANDSHAKES, _REQUESTS)
        self.tally.measured.append(figures)
        self.tally.errors += figures.errors

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
