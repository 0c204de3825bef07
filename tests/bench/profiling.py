"""Where Vestibule's time goes, as text: by perf and by py-spy, whichever are installed.

Rules: perf sees what the machine does, by library and symbol, but of Python only its interpreter;
py-spy sees Python's functions and nothing below; each text says which it is from. Servers are
slower while they are watched: these bursts are no measurements.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from proxy.app.bench.server import Server
from tests.bench.load import SMALL, Lg
from tests.bench.peers import Missing, program

__all__ = ["by_function", "profiles"]

_SECONDS = 4
_STOP_S = 30.0
_SHOWN = 40
_COLUMNS_END = re.compile(r"(\s+-)*\s*$")
"""Of columns that a virtual machine has no numbers for."""
_WAITING = ("LineWriter._run ", "EpollSelector.select ", "Runner.run ")
"""Where threads wait, which py-spy takes for running; the last is all of uvloop that is C."""

Burst = Callable[[], object]


def profiles(server: Server, lg: Lg, home: Path) -> Iterator[tuple[str, str]]:
    """File name and text of a profile for each kind of work and each tool. Raises Missing."""
    port = server.ports["ecdsa"]
    work: dict[str, Burst] = {
        "hello": lambda: lg.abandoned_hellos(port, 2000, SMALL),
        "handshake": lambda: lg.whole_handshakes(port, 1000, 16),
        "keep-alive": lambda: lg.wrk(port, 16, 2),
        "bulk": lambda: lg.download(port),
    }
    tools = {name: tool for name, tool in _TOOLS.items() if _installed(name)}
    if not tools:
        raise Missing("neither perf nor py-spy is installed: there is no profile")
    for kind, burst in work.items():
        for name, tool in tools.items():
            text = f"{name}, {server.name}, {kind}\n\n{tool(server.pids, burst, home)}"
            yield f"profile-{server.name.replace(' ', '-')}-{kind}-{name}.txt", text


def by_function(stacks: str) -> str:
    """Each function's own share of the samples, of py-spy's lines `outer;...;inner count`."""
    own: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        inner = stack.rpartition(";")[2]
        if not inner.startswith(_WAITING):
            own[inner] += int(count)
    total = sum(own.values()) or 1
    shares = (f"{count / total:7.2%}  {name}" for name, count in own.most_common(_SHOWN))
    return "\n".join(shares) + "\n"


def _perf(pids: Sequence[int], burst: Burst, home: Path) -> str:
    data = str(home / "perf.data")
    watched = ",".join(map(str, pids))
    record = [program("perf"), "record", "-q", "-F", "999", "-p", watched, "-o", data]
    _while_watching([[*record, "--", "sleep", str(_SECONDS)]], burst)
    report = [program("perf"), "report", "-i", data, "--stdio", "--percent-limit", "0.5"]
    parts = []
    for keys in ("comm,dso", "dso,symbol"):
        done = subprocess.run([*report, "--sort", keys], capture_output=True, text=True)
        lines = (_COLUMNS_END.sub("", line) for line in done.stdout.splitlines())
        parts.append("\n".join(line for line in lines if line and not line.startswith("#")))
    return "\n\n".join(parts) + "\n"


def _py_spy(pids: Sequence[int], burst: Burst, home: Path) -> str:
    files = [home / f"py-spy-{pid}.txt" for pid in pids]
    options = ["record", "-d", str(_SECONDS), "-r", "500", "-f", "raw", "--nolineno"]
    commands = [
        [_py_spy_program(), *options, "-p", str(pid), "-o", str(file)]
        for pid, file in zip(pids, files, strict=True)
    ]
    _while_watching(commands, burst)
    return by_function("".join(file.read_text() for file in files if file.exists()))


def _while_watching(commands: Sequence[Sequence[str]], burst: Burst) -> None:
    """Repeat the burst until the watchers have seen enough."""
    quiet = subprocess.DEVNULL
    watchers = [subprocess.Popen(command, stdout=quiet, stderr=quiet) for command in commands]
    try:
        while any(watcher.poll() is None for watcher in watchers):
            burst()
    finally:
        for watcher in watchers:
            if watcher.poll() is None:
                watcher.terminate()
            watcher.wait(_STOP_S)


def _py_spy_program() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else program("py-spy")


def _installed(name: str) -> bool:
    try:
        _py_spy_program() if name == "py-spy" else program(name)
    except Missing:
        return False
    return True


_TOOLS: dict[str, Callable[[Sequence[int], Burst, Path], str]] = {
    "perf": _perf,
    "py-spy": _py_spy,
}
