"""The servers under attack: a Vestibule, and at full scale nginx beside it, with the same backend.

Rules: every server is all the time in front of honest clients of its own, and attacked while no
other is. At full scale servers share one core, and everybody else another, so that a flood takes
from the server what it costs the server and nothing more.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.app.bench.processes import cpu_s, family
from tests.conftest import Scale
from tests.e2e.attacks.driver import Driver
from tests.e2e.attacks.victims import Figures, Pace, Victims
from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.peers import Nginx

__all__ = ["Field", "Phase", "Server", "Standing", "field"]

_SPARE_DESCRIPTORS = 24
"""By how many descriptors of a role may differ between two moments at rest, besides connections
to backends that nobody uses: established clients may be asking, and there are spare ones for
hand-offs."""

_QUICK_PER_S = 400.0
"""Attackers that come in a second where it is not about figures: the machine is busy enough."""

_QUICK = {
    "timeouts": {"hello_s": 2.0},
    "pressure": {"calm_s": 0.3, "answers_per_s": 50},
}
"""Where little time is to be spent; otherwise shipped defaults."""

_NGINX_UPSTREAM = """
  upstream app {{
    server {host}:{port};
    keepalive 64;
    keepalive_requests 1000000;
  }}
"""
_NGINX_LOCATION = """
    location / {
      proxy_pass https://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }
"""


@dataclass(frozen=True, slots=True)
class Server:
    """One that is attacked."""

    name: str
    port: int
    pid: int
    """Of the process whose descendants serve."""
    victims: Victims
    proxy: Vestibule | None
    """The one whose numbers can be looked at; None is a rival."""


@dataclass(frozen=True, slots=True)
class Phase:
    """How honest clients of a server fared for a while, and how busy it was."""

    figures: Figures
    cores: float
    """That it used."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a proxy holds; after an attack it has to be the same again."""

    pids: list[int]
    half_open: int
    half_open_bytes: float
    front_connections: int
    worker_connections: int
    descriptors: dict[str, float]
    """By role; without what waits for requests in pools, which follow the load for a minute."""

    @classmethod
    def of(cls, proxy: Vestibule) -> Standing:
        """At the moment: numbers are looked up last, so that they are of a proxy at rest where
        its processes said that they are."""
        pids = proxy.all_pids()
        processes = proxy.status()["processes"]
        scrape = proxy.metrics()
        descriptors = {
            role: scrape.value("vestibule_process_open_fds", role=role)
            for role in ("supervisor", "front", "worker")
        }
        descriptors["worker"] -= scrape.value("vestibule_backend_idle_connections")
        return cls(
            pids,
            sum(one["half_open"] or 0 for one in processes),
            scrape.value("vestibule_handshakes_half_open_bytes"),
            sum(one["connections"] for one in processes if one["role"] == "front"),
            sum(one["connections"] for one in processes if one["role"] == "worker"),
            descriptors,
        )

    def is_again(self, later: Standing) -> bool:
        """Whether everything is back where it was."""
        return replace(later, descriptors=self.descriptors) == self and all(
            count <= self.descriptors[role] + _SPARE_DESCRIPTORS
            for role, count in later.descriptors.items()
        )


@dataclass(frozen=True, slots=True)
class Field:
    """Everything that a test of attacks needs; it begins and ends without an attack."""

    servers: Sequence[Server]
    driver: Driver
    established: int
    """Connections that honest clients keep to each server."""
    answer: str
    """How the proxy answers."""
    scale: Scale

    @property
    def proxy(self) -> Vestibule:
        """The Vestibule."""
        (found,) = (one.proxy for one in self.servers if one.proxy is not None)
        return found

    def rest(self) -> Standing:
        """Wait until nothing is left of earlier attacks, nor of honest clients that come and go;
        what the proxy holds then."""
        (server,) = (one for one in self.servers if one.proxy is not None)
        with server.victims.established_only():
            return self._rest()

    def attack(self, name: str, server: Server) -> None:
        """Begin an attack: all that the driver can do at full scale, and a little otherwise."""
        self.driver.begin(name, server.port, per_s=None if self.scale.is_full else _QUICK_PER_S)

    def _rest(self) -> Standing:
        proxy = self.proxy
        seen = [Standing.of(proxy)]

        def resting() -> bool:
            seen.append(Standing.of(proxy))
            held = seen[-1].half_open + seen[-1].front_connections
            calm = proxy.metric("vestibule_pressure_active") == 0
            return calm and not held and seen[-1].worker_connections == self.established

        try:
            eventually(resting)
        except AssertionError as error:
            raise AssertionError(f"no rest: {seen[-1]}") from error
        return seen[-1]

    def measure(self, server: Server, share: float = 1.0) -> Phase:
        """How its honest clients fare from now on, for so long, or a share of that."""
        handshakes = int(share * self.scale(reduced=4, full=200))
        requests = int(share * self.scale(reduced=12, full=800))
        pids = family(server.pid)
        began_s, spent_s = time.monotonic(), cpu_s(pids)
        figures = server.victims.measure(handshakes, requests)
        return Phase(figures, (cpu_s(pids) - spent_s) / (time.monotonic() - began_s))


@contextlib.contextmanager
def field(
    directory: Path,
    authority: Authority,
    backend: Backend,
    answer: str,
    scale: Scale,
    *,
    rival: bool = False,
) -> Iterator[Field]:
    """All of it, running; `rival`: with nginx beside, at full scale."""
    cores = sorted(os.sched_getaffinity(0))
    pinned = scale.is_full and len(cores) > 1
    servers_on = ("taskset", "-c", str(cores[0])) if pinned else ()
    others_on = ("taskset", "-c", str(cores[1])) if pinned else ()
    if pinned:
        _pin(backend.pid, cores[1])
    content = backend.settings(authority, authority.files(), **({} if scale.is_full else _QUICK))
    content["listeners"][0]["answer"] = answer
    pace = Pace(
        established=scale(reduced=4, full=16),
        requests_per_s=10,
        handshakes_per_s=scale(reduced=20, full=40),
    )
    with contextlib.ExitStack() as ends:
        driver = ends.enter_context(Driver(*others_on))
        proxy = ends.enter_context(Vestibule(directory, content, before=servers_on))

        def served(name: str, port: int, pid: int, its_proxy: Vestibule | None) -> Server:
            victims = Victims(port, authority.file, pace, *others_on)
            return Server(name, port, pid, ends.enter_context(victims), its_proxy)

        servers = [served("vestibule", proxy.port, proxy.process.pid, proxy)]
        if scale.is_full and rival:
            nginx = ends.enter_context(_nginx(directory, authority, backend))
            if pinned:
                _pin(nginx.pid, cores[0])
            servers.append(served("nginx", nginx.port, nginx.pid, None))
        yield Field(servers, driver, pace.established, answer, scale)


def _nginx(directory: Path, authority: Authority, backend: Backend) -> Nginx:
    certificate = authority.issue(["localhost", "127.0.0.1"])
    upstream = _NGINX_UPSTREAM.format(host=backend.host, port=backend.port)
    return Nginx(directory, certificate=certificate, locations=_NGINX_LOCATION, http=upstream)


def _pin(pid: int, core: int) -> None:
    """A server that runs already."""
    for one in family(pid):
        os.sched_setaffinity(one, {core})
