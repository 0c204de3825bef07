"""The command line of `python -m tests.bench`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench.cases import GROUPS as RUNNING
from tests.bench.fresh import GROUPS as FRESH


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.bench", *options], capture_output=True, text=True, timeout=60
    )


def test_help_names_what_can_be_measured() -> None:
    done = bench("--help")
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    assert ", ".join([*RUNNING, *FRESH]) in words


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--only", "speed"], "argument --only: invalid choice: 'speed'"),
        (["--rounds", "0"], "argument --rounds: expected a positive number, not '0'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_wrong_command_lines(options: list[str], error: str) -> None:
    done = bench(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr.splitlines()[-1]


def test_one_core_is_too_few() -> None:
    done = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-m", "tests.bench", "--only", "hello"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "bench: two CPUs are needed: one for the servers, one for the load\n"
