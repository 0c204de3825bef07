"""The load: our two C programs, wrk and curl, on a core of their own.

Rules: each burst is bounded in count and time and touches loopback addresses only; one of which
more than a client in a hundred fails gives no number, because what failed cost something else.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.app.bench.load import checked
from proxy.app.bench.rotation import BurstFailed
from tests.bench.peers import Missing, program

__all__ = ["CHROMIUM", "SMALL", "Hello", "Lg", "answered", "fields", "latencies_of", "requests_of"]

CHROMIUM = Path(__file__).parent / "hellos" / "chromium-156.bin"

_HERE = Path(__file__).parent
_LIMIT_S = 120.0
_CONCURRENCY = 64
_FLOODERS = 256
_LONGEST_S = 30.0
_NICE_FLOOD = "10"
"""The flood yields to clients whose latency is measured: only the server may delay them."""
_FIELD = re.compile(r"(\w+)=([0-9.]+)")
_WRK_REQUESTS = re.compile(r"^ *(\d+) requests in", re.MULTILINE)
_WRK_ERRORS = re.compile(r"Socket errors: .*|Non-2xx.*")
_WRK_LATENCY = re.compile(r"^ *(50|99)% +([0-9.]+)(us|ms|s)$", re.MULTILINE)
_IN_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True, slots=True)
class Hello:
    """Which hello a flood sends, and whether it answers a HelloRetryRequest by a second one."""

    file: Path | None = None
    echo: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """How lg is told."""
        told = {} if self.file is None else {"LG_HELLO": str(self.file)}
        return {**told, "LG_ECHO": "1"} if self.echo else told


SMALL = Hello()


def fields(text: str) -> dict[str, float]:
    """The `name=number` pairs of a line."""
    return {name: float(value) for name, value in _FIELD.findall(text)}


def requests_of(text: str) -> int:
    """How many requests wrk got answered. Raises BurstFailed."""
    found, errors = _WRK_REQUESTS.search(text), _WRK_ERRORS.search(text)
    if found is None or errors is not None:
        raise BurstFailed(f"wrk: {errors[0] if errors else text.strip()[-200:]}")
    return int(found[1])


def latencies_of(text: str) -> dict[str, float]:
    """Median and 99th percentile that wrk printed. Raises BurstFailed."""
    found = {
        f"p{percent}_ms": float(value) * _IN_MS[unit]
        for percent, value, unit in _WRK_LATENCY.findall(text)
    }
    if len(found) != 2:
        raise BurstFailed(f"wrk: {text.strip()[-200:]}")
    return found


class Lg:
    """Everything that makes load, on the core `core`; programs are built in `home`."""

    def __init__(self, home: Path, core: int) -> None:
        self._home = home
        self._core = core
        for name in ("lg", "paced"):
            self._compile(name)

    def abandoned_hellos(self, port: int, count: int, hello: Hello = SMALL) -> int:
        """Clients that say hello, take the answer and vanish."""
        text = self._lg(hello, "flood", port, count, _CONCURRENCY, _LONGEST_S)
        return answered(text, hello)

    @contextlib.contextmanager
    def half_open(self, port: int, count: int, hello: Hello = SMALL) -> Iterator[int]:
        """Clients that fall silent after the answer, for as long as this lasts."""
        command = [self._program("lg"), "half", "127.0.0.1", str(port), str(count), "3600"]
        with self._started(command, hello.environment, stdin=subprocess.PIPE) as process:
            yield answered(_line(process), hello)

    def whole_handshakes(self, port: int, count: int, at_once: int) -> int:
        """Clients that complete a TLS 1.3 handshake without resumption, and ask once."""
        text = self._lg(SMALL, "full", port, count, at_once, _LONGEST_S, 13, 0, 1)
        found = fields(text)
        return checked(int(found["ok"]), int(found["fail"]))

    @contextlib.contextmanager
    def flood(self, port: int) -> Iterator[None]:
        """256 hellos under way at any time, for as long as this lasts."""
        count, seconds = "100000000", "600"
        command = ["nice", "-n", _NICE_FLOOD, self._program("lg"), "flood", "127.0.0.1", str(port)]
        with self._started([*command, count, str(_FLOODERS), seconds], {}):
            yield

    def honest(self, port: int, per_second: float, seconds: float) -> dict[str, float]:
        """Latency of whole handshakes with a request, of clients that come one by one."""
        found = fields(self._lg(SMALL, "legit", port, per_second, seconds))
        return _latencies(found)

    @contextlib.contextmanager
    def established(
        self, port: int, connections: int, per_second: float
    ) -> Iterator[Callable[[float], dict[str, float]]]:
        """Connections that stay; what is given measures, for so many seconds, the latency of
        requests on them at an even pace."""
        numbers = (port, connections, per_second)
        command = [self._program("paced"), *(f"{number:g}" for number in numbers)]
        with self._started(command, {}, stdin=subprocess.PIPE) as process:
            if _line(process).strip() != "established":
                raise BurstFailed("connections could not be established")

            def measure(seconds: float) -> dict[str, float]:
                if process.stdin is not None:
                    process.stdin.write(f"{seconds:g}\n")
                    process.stdin.flush()
                return _latencies(fields(_line(process)))

            yield measure

    def wrk(self, port: int, connections: int, seconds: int) -> str:
        """Keep-alive requests as fast as the server goes, as wrk reports them."""
        url = f"https://127.0.0.1:{port}/"
        rate = ["-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
        return self._output([program("wrk"), *rate, url], {})

    def download(self, port: int) -> float:
        """GB of one large file by one client."""
        url = f"https://127.0.0.1:{port}/big"
        command = [program("curl"), "-sSk", "-o", "/dev/null", "-w", "%{size_download}", url]
        return int(self._output(command, {})) / 1e9

    def _lg(self, hello: Hello, what: str, port: int, *numbers: float) -> str:
        command = [self._program("lg"), what, "127.0.0.1", str(port), *(f"{n:g}" for n in numbers)]
        return self._output(command, hello.environment)

    def _output(self, command: Sequence[str], environment: Mapping[str, str]) -> str:
        try:
            done = subprocess.run(
                ["taskset", "-c", str(self._core), *command],
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise BurstFailed(f"{command[0]} took longer than {_LIMIT_S:g} s") from error
        if done.returncode != 0:
            raise BurstFailed(f"{command[0]}: {(done.stdout + done.stderr).strip()[-300:]}")
        return done.stdout

    @contextlib.contextmanager
    def _started(
        self, command: Sequence[str], environment: Mapping[str, str], stdin: int | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            ["taskset", "-c", str(self._core), *command],
            env={**os.environ, **environment},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def _program(self, name: str) -> str:
        return str(self._home / name)

    def _compile(self, name: str) -> None:
        source, libraries = str(_HERE / f"{name}.c"), ["-lssl", "-lcrypto", "-lpthread"]
        command = [program("cc"), "-O2", "-o", self._program(name), source, *libraries]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Missing(f"{name}.c does not compile (libssl-dev?): {done.stderr.strip()[-300:]}")


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline() if process.stdout is not None else ""


def answered(text: str, hello: Hello) -> int:
    """How many clients lg says were answered as they should be. Raises BurstFailed."""
    found = fields(text)
    if "answered" not in found:
        raise BurstFailed(f"lg: {text.strip()[-200:] or 'nothing answered'}")
    done = checked(int(found["answered"]), int(found["fail"]))
    if hello.echo:
        checked(int(found["retried"]), done - int(found["retried"]))
    return done


def _latencies(found: Mapping[str, float]) -> dict[str, float]:
    if checked(int(found.get("ok", 0)), int(found.get("fail", 0))) == 0:
        raise BurstFailed("nothing was answered")
    return {"p50_ms": found["p50ms"], "p99_ms": found["p99ms"]}
