"""CPU time and memory of real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from proxy.app.bench.processes import cpu_s, family, private_bytes, settled_cpu_s
from tests.e2e.deployment import eventually

PROGRAM = """
import subprocess, sys, time
held = []
for line in sys.stdin:
    what, number = line.split()
    if what == "burn":
        until = time.process_time() + float(number)
        while time.process_time() < until:
            pass
    if what == "hold":
        held.append(bytearray(b"x") * int(number))
    if what == "child":
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    print(what, flush=True)
"""


class Program:
    """A process that does what it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, what: str, number: float = 0) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{what} {number}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{what}\n"


@pytest.fixture
def program() -> Iterator[Program]:
    started = Program()
    with started.process:
        yield started
        assert started.process.stdin is not None
        started.process.stdin.close()
        assert started.process.stdout is not None
        started.process.stdout.close()


def test_cpu_time_is_what_was_burnt(program: Program) -> None:
    pids = [program.process.pid]
    program.do("burn", 0)
    before = settled_cpu_s(pids)
    program.do("burn", 0.2)
    assert 0.2 <= settled_cpu_s(pids) - before < 0.3


def test_idle_costs_nothing(program: Program) -> None:
    pids = [program.process.pid]
    program.do("burn", 0)
    assert settled_cpu_s(pids) == pytest.approx(settled_cpu_s(pids), abs=0.0005)


def test_children_belong_to_the_family(program: Program) -> None:
    assert family(program.process.pid) == [program.process.pid]
    program.do("child")
    program.do("child")
    assert len(family(program.process.pid)) == 3
    eventually(lambda: cpu_s(family(program.process.pid)) > cpu_s([program.process.pid]))


def test_memory_is_what_was_taken(program: Program) -> None:
    pids = [program.process.pid]
    program.do("burn", 0)
    before = private_bytes(pids)
    program.do("hold", 16 << 20)
    assert private_bytes(pids) - before == pytest.approx(16 << 20, rel=0.02)


def test_processes_that_are_gone(program: Program) -> None:
    program.process.kill()
    program.process.wait()
    with pytest.raises(FileNotFoundError):
        cpu_s([program.process.pid])
    assert family(program.process.pid) == [program.process.pid]
