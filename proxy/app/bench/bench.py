"""Measures a throw-away Vestibule, and nginx where it is installed, on this machine.

Rules: all servers run at once and take turns in short bursts; what counts is their CPU time, so
that others on the machine matter little; servers have one core and the load another where there
are two. Nothing is left behind but the file that the user has asked for.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from proxy import __version__
from proxy.app.bench.load import Load
from proxy.app.bench.progress import Progress
from proxy.app.bench.report import document, table
from proxy.app.bench.rotation import Case, Samples, rotate
from proxy.app.bench.server import Server
from proxy.app.bench.sites import Site, find_nginx
from proxy.app.failures import OperatorError
from proxy.app.hardening import raise_descriptor_limit

__all__ = ["ANSWERS", "BenchOptions", "cpu_model", "run_bench"]

ANSWERS = ("direct", "retry", "adaptive")

_Cores = tuple[int | None, int | None]
"""The servers' CPU and the load's; None where they have to share."""

_REFERENCE = "nginx"
_PORT = "ecdsa"
_HELLOS = 500
_HANDSHAKES = 150
_WARM_UP = 200
_HALF_OPEN = 4000
_SPARE_DESCRIPTORS = 256
_FLOOD_S = 1.5


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What the user has asked for."""

    rounds: int
    """How often each burst is repeated."""
    with_nginx: bool
    """Whether nginx is measured beside, where it is installed."""
    json_file: Path | None
    """Where all numbers are written."""


def run_bench(options: BenchOptions, say: Callable[[str], None], errors: TextIO) -> int:
    """Measure, and print a table; returns the exit status. Raises OperatorError."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up, as after Ctrl-C
    half_open = min(_HALF_OPEN, raise_descriptor_limit() - _SPARE_DESCRIPTORS)
    if half_open < 1:
        raise OperatorError("too few descriptors: raise the hard limit (ulimit -Hn)")
    cores = _cores()
    nginx = find_nginx() if options.with_nginx else None
    with contextlib.ExitStack() as cleanup:
        # Opened first: nobody wants to learn after a minute that it cannot be written.
        written = cleanup.enter_context(_opened(options.json_file))
        facts = _facts(nginx, cores, options.rounds)
        say(_headline(facts))
        servers, load = _prepared(cleanup, nginx, cores)
        samples = _measured(cleanup, servers, load, half_open, options.rounds, errors)
        say(table(samples, _REFERENCE))
        errors.writelines(f"vestibule: not measured: {remark}\n" for remark in samples.remarks)
        if written is not None:
            json.dump(document(samples, _REFERENCE, facts), written, indent=2)
            written.write("\n")
    return 1 if samples.remarks else 0


def _prepared(
    cleanup: contextlib.ExitStack, nginx: str | None, cores: _Cores
) -> tuple[dict[str, Server], Load]:
    """The backend and the load run then; the servers are still to be started."""
    home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="vestibule-")))
    site = cleanup.enter_context(Site.prepared(home, *cores))
    load = cleanup.enter_context(Load(site.ca, cores[1]))
    servers = {answer: site.vestibule(answer) for answer in ANSWERS}
    if nginx is not None:
        servers[_REFERENCE] = site.nginx(nginx)
    return servers, load


def _measured(
    cleanup: contextlib.ExitStack,
    servers: dict[str, Server],
    load: Load,
    half_open: int,
    rounds: int,
    errors: TextIO,
) -> Samples:
    """Start the servers, and measure all."""
    first, again = _memory_cases(servers, load, half_open), _cases(servers, load)
    samples = Samples()
    with Progress(len(servers) + len(first) + len(again) * rounds, errors) as progress:
        for server in servers.values():
            progress.step(f"starting {server.name}")
            cleanup.enter_context(server)

        def step(case: Case) -> None:
            progress.step(f"{case.measure}: {case.subject}")

        rotate(first, 1, samples, step)
        rotate(again, rounds, samples, step)
    return samples


def _memory_cases(servers: dict[str, Server], load: Load, count: int) -> list[Case]:
    """Once, before anything else: freed memory stays with a process and would hide what is used."""

    def measured(server: Server) -> dict[str, float]:
        port = server.ports[_PORT]
        load.abandoned_hellos(port, _WARM_UP)
        server.cpu_s()  # waits until it is quiet
        before = server.private_bytes()
        with load.half_open(port, count) as held:
            return {"bytes": (server.private_bytes() - before) / held}

    return [_case("memory", server, measured) for server in servers.values()]


def _cases(servers: dict[str, Server], load: Load) -> list[Case]:
    def hello(server: Server) -> dict[str, float]:
        port = server.ports[_PORT]
        return {"cpu_us": server.cpu_us_per(lambda: load.abandoned_hellos(port, _HELLOS))}

    def handshake(server: Server) -> dict[str, float]:
        port = server.ports[_PORT]
        return {"cpu_us": server.cpu_us_per(lambda: load.whole_handshakes(port, _HANDSHAKES))}

    def flood(server: Server) -> dict[str, float]:
        return load.honest_in_flood(server.ports[_PORT], _FLOOD_S)

    burst = [*servers.values()]
    # What is on by default, and the reference.
    flooded = [server for key, server in servers.items() if key in ("adaptive", _REFERENCE)]
    return [
        *(_case("hello", server, hello) for server in burst),
        *(_case("handshake", server, handshake) for server in burst),
        *(_case("flood", server, flood) for server in flooded),
    ]


def _case(measure: str, server: Server, run: Callable[[Server], dict[str, float]]) -> Case:
    return Case(measure, server.name, lambda: run(server))


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[TextIO | None]:
    if path is None:
        yield None
        return
    try:
        file = path.open("w")
    except OSError as error:
        raise OperatorError(f"--json {path}: {error.strerror}") from error
    with file:
        yield file


def _cores() -> _Cores:
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def _facts(nginx: str | None, cores: _Cores, rounds: int) -> dict[str, Any]:
    return {
        "vestibule": __version__,
        "nginx": None if nginx is None else _nginx_version(nginx),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": cpu_model(),
        "server_core": cores[0],
        "load_core": cores[1],
        "rounds": rounds,
    }


def _nginx_version(program: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  found by find_nginx
            [program, "-v"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperatorError(f"cannot run {program}: {error}") from error
    return done.stderr.strip().rpartition("/")[2]


def cpu_model() -> str:
    """What the processor calls itself."""
    lines: Sequence[str] = Path("/proc/cpuinfo").read_text().splitlines()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _headline(facts: dict[str, Any]) -> str:
    peer = "nginx is not measured" if facts["nginx"] is None else f"nginx {facts['nginx']}"
    where = (
        "one CPU for servers and load: latencies include the load's work"
        if facts["server_core"] is None
        else f"servers on CPU {facts['server_core']}, load on CPU {facts['load_core']}"
    )
    return (
        f"Vestibule {facts['vestibule']}, {peer}, Python {facts['python']}, "
        f"Linux {facts['kernel']}, {facts['cpu']}\n"
        f"{where}; ECDSA P-256, TLS 1.3, X25519; {facts['rounds']} rounds\n\n"
    )
