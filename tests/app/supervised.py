"""A real supervisor process over stand-in children, and its handle for tests.

`python -m tests.app.supervised FILE` runs a Supervisor whose configuration is FILE, a JSON object
of `Wishes`; its log goes to standard output as JSON lines, which the handle waits for: every test
waits for what happens, never for time to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from proxy.app.desired import AdminAddresses, Desired
from proxy.app.failures import LoadFailed, OperatorError
from proxy.app.listeners import ListenAddress
from proxy.app.supervisor import Supervisor
from proxy.front import BindAddress, Family

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 20.0
STAND_IN = (sys.executable, "-m", "tests.app.stand_in")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the supervisor is to run; `front` and `worker` are the stand-ins' snapshots."""

    bind: list[str] = field(default_factory=lambda: ["127.0.0.1:0"])
    fronts: int = 1
    workers: int = 1
    drain_s: float = 10.0
    stuck_s: float = 15.0
    admin: str | None = "127.0.0.1:0"
    socket: str | None = None
    front: dict[str, Any] = field(default_factory=dict)
    worker: dict[str, Any] = field(default_factory=dict)
    dual_stack: bool = False


def address(text: str) -> BindAddress:
    """`unix:PATH`, `ADDRESS:PORT` or `[ADDRESS]:PORT`."""
    if text.startswith("unix:"):
        return BindAddress(family=Family.UNIX, host=text.removeprefix("unix:"))
    host, _, port = text.rpartition(":")
    family = Family.INET6 if host.startswith("[") else Family.INET
    return BindAddress(family=family, host=host.strip("[]"), port=int(port))


def desired(path: Path) -> Desired:
    """Read a file of wishes. Raises LoadFailed."""
    try:
        wishes = Wishes(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise LoadFailed(f"{path}:1:1: {error}") from error
    return Desired(
        addresses=tuple(
            ListenAddress("public", address(bind), wishes.dual_stack) for bind in wishes.bind
        ),
        processes={"front": wishes.fronts, "worker": wishes.workers},
        drain_s=wishes.drain_s,
        stuck_s=wishes.stuck_s,
        admin=AdminAddresses(
            listen=None if wishes.admin is None else address(wishes.admin),
            socket=None if wishes.socket is None else Path(wishes.socket),
        ),
        snapshots={
            "front": json.dumps(wishes.front).encode(),
            "worker": json.dumps(wishes.worker).encode(),
        },
    )


async def _main(path: Path) -> int:
    supervisor = Supervisor(lambda: desired(path), command=STAND_IN)
    try:
        return await supervisor.run(desired(path))
    except OperatorError as error:
        structlog.get_logger().error("failed", error=str(error))
        return 1


class Supervised:
    """A supervisor process; `with` bounds its life and checks that nothing outlives it."""

    def __init__(self, directory: Path, wishes: Wishes) -> None:
        self.wishes = wishes
        self.log: list[dict[str, Any]] = []
        self.text = ""
        self.listeners: list[str] = []
        self.admin = ""
        self._path = directory / "wishes.json"
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._seen: set[int] = set()
        self._unseen: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start the process; returns at once."""
        self.write(self.wishes)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.app.supervised", str(self._path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            text=True,
            env={**os.environ, "VESTIBULE_TEST_SECRET": "hush"},
        )
        threading.Thread(target=self._read, args=(self._process,), daemon=True).start()

    def write(self, wishes: Wishes) -> None:
        """Replace the file of wishes."""
        self.wishes = wishes
        self._path.write_text(json.dumps(asdict(wishes)))

    def spoil(self) -> None:
        """Make the file of wishes unreadable."""
        self._path.write_text("{")

    def change(self, **changes: Any) -> None:
        """Replace some wishes and have the supervisor reload."""
        self.write(replace(self.wishes, **changes))
        self.signal(signal.SIGHUP)

    def signal(self, number: signal.Signals) -> None:
        """Signal the supervisor alone."""
        self.process.send_signal(number)

    def wait(self, event: str, **fields: Any) -> dict[str, Any]:
        """The first log line of this event with these fields that was not waited for yet."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            for line in self._unseen:
                if line.get("event") == event and fields.items() <= line.items():
                    self._unseen.remove(line)
                    return line
            try:
                text = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} {fields} in:\n{self.text}") from None
            if not text:
                raise AssertionError(f"it ended before {event} {fields}:\n{self.text}")
            self._take(text)

    def running(self) -> dict[str, Any]:
        """Wait until it serves."""
        line = self.wait("running")
        self.listeners, self.admin = line["listeners"], line["admin"]
        return line

    def ended(self) -> int:
        """Wait until it has exited by itself; its exit status."""
        status = self.process.wait(LIMIT_S)
        while (text := self._lines.get(timeout=LIMIT_S)) != "":
            self._take(text)
        return status

    def client(self, number: int = 0) -> dict[str, Any]:
        """What a front tells a client."""
        return ask_front(self.listeners[number])

    def pids(self) -> list[int]:
        """Processes started by the supervisor that exist, zombies too."""
        found = children_of(self.process.pid)
        self._seen.update(found)
        return found

    def _take(self, text: str) -> None:
        self.text += text
        try:
            line = json.loads(text)
        except ValueError:
            return  # a child's line from before it knows where its log is
        self.log.append(line)
        self._unseen.append(line)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pids()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        try:
            for pid in self._seen:
                gone(pid)
        except AssertionError:
            for pid in self._seen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            raise
        if self.process.stdout is not None:
            self.ended_output()

    def ended_output(self) -> None:
        """Close the pipe once its reader has seen the end."""
        assert self.process.stdout is not None
        with contextlib.suppress(queue.Empty):
            while self._lines.get(timeout=0.2) != "":
                pass
        self.process.stdout.close()


def ask_front(bind: str) -> dict[str, Any]:
    """Connect to a stand-in front and read its facts."""
    where = address(bind)
    if where.family is Family.UNIX:
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(LIMIT_S)
        channel.connect(where.host)
    else:
        channel = socket.create_connection((where.host, where.port), timeout=LIMIT_S)
    with channel, channel.makefile() as lines:
        facts: dict[str, Any] = json.loads(lines.readline())
    return facts


def children_of(pid: int) -> list[int]:
    """Child processes by /proc."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(item) for item in (task / "children").read_text().split()]
    return found


def gone(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], LIMIT_S)[0], f"process {pid} lives on"
    finally:
        os.close(descriptor)


class Make(Protocol):
    """The fixture `make`: starts a supervisor with these wishes."""

    def __call__(self, **wishes: Any) -> Supervised: ...


def until(limit_s: float = LIMIT_S) -> Iterator[int]:
    """Attempts to see something that has no event to wait for: yields until the limit."""
    deadline = time.monotonic() + limit_s
    attempt = 0
    while time.monotonic() < deadline:
        yield attempt
        attempt += 1
        threading.Event().wait(0.02)
    raise AssertionError("not seen in time")


if __name__ == "__main__":
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(key="at_s"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
    )
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(asyncio.run(_main(Path(sys.argv[1]))))
