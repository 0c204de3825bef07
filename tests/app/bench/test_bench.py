"""`vestibule bench` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.app.bench.sites import find_nginx
from tests.app.supervised import children_of, gone
from tests.e2e.deployment import eventually

COMMAND = (sys.executable, "-m", "proxy", "bench")
LIMIT_S = 240.0

COSTS = {
    "CPU per abandoned hello",
    "CPU per whole handshake with a request",
    "user memory per half-open client",
}
LATENCIES = {"honest client in a flood, median", "honest client in a flood, 99th percentile"}


def bench(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "TMPDIR": str(directory)},
    )


def test_it_measures_every_server_and_leaves_nothing(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = bench(temporary, "--rounds", "1", "--json", str(tmp_path / "out.json"))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(temporary.iterdir()) == []
    found = json.loads((tmp_path / "out.json").read_text())
    nginx = {"nginx"} if find_nginx() else set()
    ours = {"vestibule direct", "vestibule retry", "vestibule adaptive"}
    expected = {(cost, server) for cost in COSTS for server in ours | nginx}
    expected |= {(one, server) for one in LATENCIES for server in {"vestibule adaptive"} | nginx}
    results = found["results"]
    assert {(one["measure"], one["server"]) for one in results} == expected
    # A front in retry keeps next to nothing of a client, and may have room left from before.
    assert all(one["median"] > 0 for one in results if one["unit"] != "B")
    assert found["rounds"] == 1
    for measure, server in expected:
        assert measure in done.stdout
        assert server in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_one_cleans_up(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--no-nginx"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        # Whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509  no thread is here
    )
    # A backend, two load processes and a server: it is in the midst of it.
    eventually(lambda: len(children_of(process.pid)) >= 4)
    pids = children_of(process.pid)
    process.send_signal(number)
    said, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (130, "")
    assert "nginx is not measured" in said
    for pid in pids:
        gone(pid)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    done = bench(tmp_path, "--json", str(tmp_path / "nowhere" / "out.json"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"vestibule: --json {tmp_path}/nowhere/out.json: No such file or directory\n"
    )


@pytest.mark.parametrize("rounds", ["0", "-1", "many"])
def test_rounds_are_a_positive_number(tmp_path: Path, rounds: str) -> None:
    done = bench(tmp_path, f"--rounds={rounds}")
    assert done.returncode == 2
    assert "argument --rounds: expected a positive number" in done.stderr.splitlines()[-1]


def test_few_descriptors_are_told(tmp_path: Path) -> None:
    done = subprocess.run(
        ["prlimit", "--nofile=200:200", *COMMAND],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("vestibule: too few descriptors: raise the hard limit (ulimit -Hn)\n")
