"""`vestibule demo`, as a newcomer meets it: one command, the lines that it prints, Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployment import COMMAND, LIMIT_S, gone

READY_S = 15.0
"""A generous bound for "within seconds"."""


class Demo:
    """A running demo; `with` bounds its life."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._log = (directory / "demo.log").open("w+")
        self.process = subprocess.Popen(
            [str(COMMAND), "demo", "--listen", "127.0.0.1:0", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "TMPDIR": str(directory)},
            cwd=directory,
            text=True,
            start_new_session=True,
        )
        self.words = self._banner()

    def _banner(self) -> str:
        """What it prints until it says how it is stopped."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + READY_S
        words = ""
        while "Ctrl-C stops it.\n" not in words:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self.process.stdout], [], [], left)[0], f"not ready: {words}"
            part = os.read(self.process.stdout.fileno(), 65536).decode()
            assert part, self.errors
            words += part
        return words

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        self._log.seek(0)
        return self._log.read()

    def lines(self, program: str) -> list[list[str]]:
        """The command lines of a program that it printed, as a shell would split them."""
        lines = re.findall(rf"^ +({program} .*)$", self.words, re.MULTILINE)
        assert lines
        return [shlex.split(line) for line in lines]

    def interrupt(self, *numbers: signal.Signals) -> int:
        """Signal it as a terminal does, and wait for its end; the exit status."""
        children = self.children()
        assert len(children) >= 3  # a front, workers, the backend
        for number in numbers:
            self.process.send_signal(number)
        status = self.process.wait(LIMIT_S)
        for pid in children:
            gone(pid)
        return status

    def children(self) -> list[int]:
        """Process ids of what it has started."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            children = self.children()
            self.process.kill()
            self.process.wait()
            for pid in children:
                gone(pid)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()


@pytest.fixture
def demo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Demo]:
    """A demo in a temporary directory of its own choice, or in one that the test names."""
    running = Demo(tmp_path, *getattr(request, "param", ()))
    try:
        yield running
    finally:
        running.close()


def run(command: list[str]) -> str:
    """What a printed command writes; it has to succeed."""
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_printed_lines_work_as_they_stand(demo: Demo, tmp_path: Path) -> None:
    hello, download, metrics = demo.lines("curl")
    answer = json.loads(run(hello))
    assert (answer["method"], answer["path"]) == ("GET", "/hello")
    assert any(field.startswith("X-Forwarded-Proto: https") for field in answer["fields"])
    run(download)
    assert "vestibule_requests_total{" in run(metrics)
    (openssl,) = demo.lines("openssl")
    assert "Verify return code: 0 (ok)" in run(openssl)
    (status,) = demo.lines("vestibule")
    assert "running, ready" in run([str(COMMAND), *status[1:]])


def test_what_is_sent_arrives(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(os.urandom(3_000_000))
    hello = demo.lines("curl")[0]
    answer = json.loads(run([*hello, "--data-binary", f"@{tmp_path / 'body'}"]))
    digest = hashlib.sha256((tmp_path / "body").read_bytes()).hexdigest()
    assert answer["body"] == {"bytes": 3_000_000, "sha256": digest}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_leaves_nothing(
    demo: Demo, tmp_path: Path, number: signal.Signals
) -> None:
    (home,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert (home / "ca.pem").exists()
    run(demo.lines("curl")[0])
    assert demo.interrupt(number) == 0
    assert not home.exists()
    assert "Traceback" not in demo.errors


def test_a_directory_that_was_named_stays(tmp_path: Path) -> None:
    home = tmp_path / "fresh" / "demo"
    demo = Demo(tmp_path, "--dir", str(home))
    try:
        hello = demo.lines("curl")[0]
        assert str(home / "ca.pem") in hello
        run(hello)
        assert demo.interrupt(signal.SIGINT) == 0
        assert (home / "ca.pem").exists()
        assert not (home / "admin.sock").exists()
    finally:
        demo.close()


def test_two_signals_end_it_as_well(demo: Demo) -> None:
    assert demo.interrupt(signal.SIGINT, signal.SIGINT) == 0
    assert "Traceback" not in demo.errors
