"""Runs targets as processes of their own and reads what libFuzzer says.

Rules: a target's new inputs go to its own directory below `found`, where the next run finds them
again; reproducers go to `findings` below that. Nothing is written to the repository. A target ends
at its first finding, the others go on. Time in which this process is stopped does not count: to
stop a run for a while, stop the whole process group.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Final

from tests.fuzz.harness import ROOT

__all__ = ["Run", "Summary", "run_all"]

# "#4096	NEW    cov: 321 ft: 655 corp: 40/2Kb lim: 17 exec/s: 1024 rss: 41Mb ..."
_STATUS: Final = re.compile(rb"^#(\d+)\t\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_EXECUTED: Final = re.compile(rb"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_READY: Final = b"\tINITED"
_ARTIFACT: Final = re.compile(rb"Test unit written to (\S+)")
_TRACEBACK: Final = b"=== Uncaught Python exception: ==="
_TAIL_BYTES: Final = 65536
_GRACE_S: Final = 120.0
"""How long a run may take to start, and to end when it is asked to, before it is killed."""
_POLL_S: Final = 0.2
_LONGEST_POLL_S: Final = 2.0
"""More than that between two polls: we did not run."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """How one target's run ended."""

    target: str
    executions: int
    seconds: float
    coverage: int
    """Edges, as libFuzzer counts them in the instrumented packages."""
    inputs: int
    """In the corpus that the run ended with."""
    status: int
    reproducer: Path | None = None
    text: str = ""
    """What libFuzzer and Python said of the finding."""

    @property
    def is_finding(self) -> bool:
        """Whether the run ended for another reason than its time."""
        return self.status != 0

    def line(self) -> str:
        """One line for people."""
        rate = self.executions / max(self.seconds, 1)
        found = "1 finding" if self.is_finding else "0 findings"
        return (
            f"{self.target:<12} {self.executions:>9} executions {rate:>7.0f} exec/s "
            f"cov {self.coverage:>5} edges, {self.inputs:>5} inputs, {found}"
        )

    def replay(self) -> str:
        """The command that shows the finding again."""
        return f"python -m tests.fuzz.replay {self.target} {self.reproducer}"


@dataclass(slots=True)
class Run:
    """One target's process; `log` is what it writes."""

    target: str
    seconds: float
    found: Path
    ran_s: float = 0.0
    _process: "subprocess.Popen[bytes] | None" = None
    _polled_s: float = 0.0
    _started_s: float = 0.0
    _ready: bool = False
    _asked: bool = False
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def log(self) -> Path:
        """The process' output."""
        return self.found / f"{self.target}.log"

    def start(self) -> None:
        """Start the process; its inputs are read from, and added to, the directory of `found`."""
        inputs, findings = self.found / self.target, self.found / "findings"
        for directory in (inputs, findings):
            directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.fuzz.harness", self.target]
        # The limit is for the case that this process dies without a word.
        limit = round(10 * self.seconds + 3600)
        command += ["-print_final_stats=1", f"-max_total_time={limit}"]
        command += [f"-artifact_prefix={findings}/{self.target}-", str(inputs)]
        output: IO[bytes] = self._open.enter_context(self.log.open("wb"))
        scratch = self._open.enter_context(TemporaryDirectory(prefix="vestibule-fuzz-"))
        environment = {**os.environ, "TMPDIR": scratch}
        self._polled_s = time.monotonic()
        self._process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=ROOT, env=environment
        )

    def progress(self) -> str:
        """Where it is, in a few words."""
        found = _STATUS.findall(self._tail())
        executions, coverage = found[-1][:2] if found else (b"0", b"0")
        return (
            f"{self.target} {self.ran_s:.0f}/{self.seconds:.0f} s "
            f"{executions.decode()} executions cov {coverage.decode()}"
        )

    def poll(self) -> Summary | None:
        """The summary once the process has ended; one that does not end is killed."""
        assert self._process is not None
        self._count()
        status = self._process.poll()
        too_long = max(self._started_s, self.ran_s - self.seconds) >= _GRACE_S
        if status is None and not too_long:
            if self.ran_s >= self.seconds and not self._asked:
                # libFuzzer's signal to end as if it were done.
                self._process.send_signal(signal.SIGUSR1)
                self._asked = True
            return None
        self.kill()
        return self._summary(self._process.wait())

    def _count(self) -> None:
        """Time counts from the moment when the process has read its corpus."""
        now = time.monotonic()
        passed = min(now - self._polled_s, _LONGEST_POLL_S)
        self._polled_s = now
        if self._ready or _READY in self._tail():
            self._ready = True
            self.ran_s += passed
        else:
            self._started_s += passed

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._open.close()

    def _tail(self) -> bytes:
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
            return log.read()

    def _summary(self, status: int) -> Summary:
        tail = self._tail()
        statuses = _STATUS.findall(tail) or [(b"0", b"0", b"0", b"0")]
        executed = _EXECUTED.findall(tail) or [statuses[-1][0]]
        artifact = _ARTIFACT.findall(tail)
        begin = max(0, tail.find(_TRACEBACK), tail.rfind(b"==ERROR"))
        return Summary(
            self.target,
            int(executed[-1]),
            self.ran_s,
            int(statuses[-1][1]),
            int(statuses[-1][3]),
            status,
            Path(artifact[-1].decode()) if artifact else None,
            tail[begin:].decode(errors="replace") if status else "",
        )


def run_all(
    targets: Sequence[str], seconds: float, jobs: int, found: Path, report: Report
) -> list[Summary]:
    """Run every target, at most ``jobs`` at once; ``report`` is told how it goes."""
    waiting = [Run(target, seconds, found) for target in targets]
    running: list[Run] = []
    ended: list[Summary] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(waiting.pop(0))
                running[-1].start()
            time.sleep(_POLL_S)
            for run, summary in list(_ended(running)):
                running.remove(run)
                ended.append(summary)
            report(", ".join(run.progress() for run in running))
    finally:
        for run in running:
            run.kill()
    return ended


def _ended(running: Sequence[Run]) -> Iterator[tuple[Run, Summary]]:
    for run in running:
        summary = run.poll()
        if summary is not None:
            yield run, summary
