"""What is measured of servers that all run at once: cases for the rotation.

Rules: bursts are short, a fraction of a second of a server's work, so that a rotation through all
servers sees one and the same machine; numbers are CPU time, or latency where that is the question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from proxy.app.bench.rotation import Case
from proxy.app.bench.server import Server
from tests.bench.load import CHROMIUM, SMALL, Hello, Lg, latencies_of, requests_of
from tests.bench.peers import vestibule_name

__all__ = ["GROUPS", "Field"]

Numbers = dict[str, float]
Run = Callable[[Server], Numbers]

_HELLOS, _RSA_HELLOS = 1000, 400
_HANDSHAKES, _AT_ONCE = 400, 16
_KEEP_ALIVE_CONNECTIONS, _KEEP_ALIVE_S = 16, 1
_HONEST_PER_S, _HONEST_S = 100.0, 6.0
_PACED_CONNECTIONS, _PACED_PER_S, _PACED_S = 16, 200.0, 4.0
_SATURATING_CONNECTIONS, _SATURATED_S = 8, 2


@dataclass(frozen=True, slots=True)
class Field:
    """The servers that run, and what makes load for them."""

    servers: Sequence[Server]
    tuned: Sequence[Server]
    """With large buffers: only for bulk."""
    lg: Lg

    def of(self, *answers: str) -> list[Server]:
        """The peers, and Vestibules that answer in one of these ways."""
        wanted = {vestibule_name(answer) for answer in answers}
        return [
            one
            for one in self.servers
            if not one.name.startswith(vestibule_name("")) or one.name in wanted
        ]


def _cases(measure: str, servers: Iterable[Server], run: Run) -> list[Case]:
    return [Case(measure, server.name, partial(run, server)) for server in servers]


def hello(field: Field) -> list[Case]:
    """Clients that take the answer to their hello and vanish."""
    lg = field.lg

    def burst(key: str, count: int, sent: Hello) -> Run:
        return lambda server: {
            "cpu_us": server.cpu_us_per(lambda: lg.abandoned_hellos(server.ports[key], count, sent))
        }

    browser, echo = Hello(CHROMIUM), Hello(echo=True)
    retrying = [one for one in field.servers if one.name == vestibule_name("retry")]
    return [
        *_cases("hello-ecdsa", field.servers, burst("ecdsa", _HELLOS, SMALL)),
        *_cases("hello-ecdsa-browser", field.servers, burst("ecdsa", _HELLOS, browser)),
        *_cases("hello-rsa", field.servers, burst("rsa", _RSA_HELLOS, SMALL)),
        *_cases("hello-rsa-browser", field.servers, burst("rsa", _RSA_HELLOS, browser)),
        *_cases("hello-echo", [*field.of(), *retrying], _first_or_second(lg, echo)),
    ]


def _first_or_second(lg: Lg, echo: Hello) -> Run:
    """Two hellos where there is a HelloRetryRequest, one where there is none."""

    def run(server: Server) -> Numbers:
        sent = echo if server.name.startswith(vestibule_name("")) else SMALL
        port = server.ports["ecdsa"]
        return {"cpu_us": server.cpu_us_per(lambda: lg.abandoned_hellos(port, _HELLOS, sent))}

    return run


def handshake(field: Field) -> list[Case]:
    """Clients that complete the handshake and ask once."""

    def burst(key: str, at_once: int) -> Run:
        return lambda server: {
            "cpu_us": server.cpu_us_per(
                lambda: field.lg.whole_handshakes(server.ports[key], _HANDSHAKES, at_once)
            )
        }

    return [
        *_cases("handshake-ecdsa", field.servers, burst("ecdsa", _AT_ONCE)),
        *_cases("handshake-single", field.servers, burst("ecdsa", 1)),
        *_cases("handshake-rsa", field.servers, burst("rsa", _AT_ONCE)),
    ]


def keep_alive(field: Field) -> list[Case]:
    """Requests on connections that stay, as fast as they are answered."""

    def run(server: Server) -> Numbers:
        def burst() -> int:
            port = server.ports["ecdsa"]
            return requests_of(field.lg.wrk(port, _KEEP_ALIVE_CONNECTIONS, _KEEP_ALIVE_S))

        return {"cpu_us": server.cpu_us_per(burst)}

    return _cases("keep-alive", field.of("direct"), run)


def bulk(field: Field) -> list[Case]:
    """A large file for one client."""

    def run(server: Server) -> Numbers:
        us = server.cpu_us_per(lambda: field.lg.download(server.ports["ecdsa"]))
        return {"cpu_s": us / 1e6}

    return _cases("bulk", [*field.of("direct"), *field.tuned], run)


def honest(field: Field) -> list[Case]:
    """Whole handshakes with a request, one by one, without and with a flood of hellos beside."""
    lg = field.lg

    def run(server: Server) -> Numbers:
        port = server.ports["ecdsa"]
        calm = lg.honest(port, _HONEST_PER_S, _HONEST_S / 4)
        with lg.flood(port):
            lg.honest(port, _HONEST_PER_S, _HONEST_S / 4)  # until it is in full swing
            flooded = lg.honest(port, _HONEST_PER_S, _HONEST_S)
        return {**_prefixed("calm", calm), **flooded}

    return _cases("honest", field.servers, run)


def established(field: Field) -> list[Case]:
    """Requests on connections that were there before the flood: at an even pace, and all out."""
    lg = field.lg

    def paced(server: Server) -> Numbers:
        port = server.ports["ecdsa"]
        with lg.established(port, _PACED_CONNECTIONS, _PACED_PER_S) as measure:
            calm = measure(_PACED_S)
            with lg.flood(port):
                measure(_PACED_S / 4)
                return _compared(calm, measure(_PACED_S))

    def saturated(server: Server) -> Numbers:
        port = server.ports["ecdsa"]

        def burst() -> Numbers:
            return latencies_of(lg.wrk(port, _SATURATING_CONNECTIONS, _SATURATED_S))

        calm = burst()
        with lg.flood(port):
            return _compared(calm, burst())

    return [
        *_cases("established", field.servers, paced),
        *_cases("established-saturated", field.servers, saturated),
    ]


def _compared(calm: Numbers, flooded: Numbers) -> Numbers:
    growth = flooded["p99_ms"] / calm["p99_ms"]
    return {**_prefixed("calm", calm), **flooded, "p99_growth": growth}


def _prefixed(prefix: str, numbers: Numbers) -> Numbers:
    return {f"{prefix}_{name}": value for name, value in numbers.items()}


GROUPS: dict[str, Callable[[Field], list[Case]]] = {
    "hello": hello,
    "handshake": handshake,
    "keep-alive": keep_alive,
    "bulk": bulk,
    "honest": honest,
    "established": established,
}
"""By the names of --only."""
