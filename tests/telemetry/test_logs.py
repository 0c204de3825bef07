"""Logging, each case in a process of its own: structlog is configured once for all of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PREAMBLE = """
import asyncio, json, logging, os, pathlib, signal, sys, warnings
import structlog
from proxy.telemetry import LoggingSettings, Logs, Metrics
from proxy.tls import Secret
log = structlog.get_logger("vestibule.test")
metrics = Metrics()
def start(**settings):
    return Logs(LoggingSettings(access="off", **settings), metrics, role="worker", slot=1)
"""


def run(program: str, *arguments: str) -> str:
    """Run a program and return what it wrote to standard error; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr


def entries(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_json_entry() -> None:
    [entry] = entries(run("logs = start(); log.info('started', port=443); logs.close()"))
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {
        "level": "info",
        "process": "worker-1",
        "logger": "vestibule.test",
        "event": "started",
        "port": 443,
    }


def test_levels_below_the_configured_one_are_not_written() -> None:
    program = """
logs = start(level="warning")
log.info("no"), log.warning("yes"), log.error("yes too")
logging.getLogger("library").info("no")
logs.close()
"""
    assert [entry["event"] for entry in entries(run(program))] == ["yes", "yes too"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_and_no_local_is_printed(form: str) -> None:
    program = f"""
def inner(key):
    local = key * 2
    raise ValueError("inner failed")
logs = start(format="{form}")
hidden = b"hidden-key".hex()
try:
    inner(hidden)
except ValueError:
    log.exception("failed", secret=Secret(b"hidden"), several=[Secret(b"hidden")])
    logging.getLogger("library").exception("library failed")
asyncio.run(asyncio.sleep(0))
logs.close()
"""
    output = run(program)
    assert output.count("inner failed") == 2
    assert output.count("Secret(...)") == 2
    assert b"hidden-key".hex() not in output
    assert "hidden'" not in output
    assert "local =" not in output.replace("local = key * 2", "")


@pytest.mark.parametrize("form", ["json", "console"])
def test_peers_cannot_begin_a_line(form: str) -> None:
    program = f"""
logs = start(format="{form}")
evil = "x\\n2030-01-01 forged\\r\\x1b[2J\\x7f\\x9b\\u2028y"
log.warning("refused", name=evil, raw=evil.encode(), nested=[evil], table={{evil: evil}})
log.warning(evil)
logging.getLogger("library").warning("says %s", evil)
try:
    raise ValueError(evil)
except ValueError:
    log.exception("failed")
logs.close()
"""
    output = run(program)
    assert "forged" in output
    assert not any(line.lstrip().startswith("2030") for line in output.splitlines())
    assert not any((ord(char) < 0x20 and char != "\n") or ord(char) == 0x7F for char in output)
    assert "\x9b" not in output
    assert "\u2028" not in output
    if form == "json":
        first, second, third, fourth = entries(output)
        assert first["name"] == second["event"] == third["event"].removeprefix("says ")
        assert "ValueError" in fourth["exception"]


def test_long_values_are_cut() -> None:
    program = """
logs = start()
log.info("long", text="x" * 100_000, data=b"y" * 100_000, many=["z"] * 100_000)
logs.close()
"""
    output = run(program)
    assert len(output) < 3 * 20_000
    [entry] = entries(output)
    assert entry["text"].endswith("x...")


def test_values_of_every_kind_are_printed() -> None:
    program = """
logs = start()
log.info("kinds", none=None, yes=True, ratio=0.5, path=pathlib.Path("/x"), some={1: [b"y"]},
         infinite=float("inf"))
logs.close()
"""
    [entry] = entries(run(program))
    assert entry["none"] is None
    assert entry["yes"] is True
    assert entry["ratio"] == 0.5
    assert "/x" in entry["path"]
    assert entry["some"] == {"1": ["b'y'"]}


def test_libraries_and_warnings_go_the_same_way() -> None:
    program = """
logs = start()
logging.getLogger("library").warning("one %d", 1)
logging.getLogger("library").log(35, "between")
logging.getLogger("library").warning("one %d", "not a number")
warnings.warn("careful")
logs.close()
"""
    first, second, third, fourth = entries(run(program))
    assert (first["event"], first["logger"]) == ("one 1", "library")
    assert second["level"] == "warning"
    assert third["event"] == "unprintable log record"
    assert (fourth["logger"], "careful" in fourth["event"]) == ("py.warnings", True)


def test_a_signal_reopens_the_file(tmp_path: Path) -> None:
    program = """
path = sys.argv[1]
logs = start(file=path)
signal.signal(signal.SIGUSR1, lambda *_: logs.reopen())
log.info("before")
os.rename(path, path + ".1")
os.kill(os.getpid(), signal.SIGUSR1)
log.info("after")
logs.close()
"""
    path = tmp_path / "log"
    assert run(program, str(path)) == ""
    assert [entry["event"] for entry in entries((tmp_path / "log.1").read_text())] == ["before"]
    assert [entry["event"] for entry in entries(path.read_text())] == ["after"]


def test_a_reload_moves_every_logger(tmp_path: Path) -> None:
    program = """
logs = start()
access = logs.access
log.info("to stderr")
logs.configure(LoggingSettings(access="off", file=sys.argv[1], level="error"))
log.info("not at all")
log.error("to the file")
assert logs.access is access
logs.close()
"""
    path = tmp_path / "log"
    assert [entry["event"] for entry in entries(run(program, str(path)))] == ["to stderr"]
    assert [entry["event"] for entry in entries(path.read_text())] == ["to the file"]


def test_a_reload_that_fails_changes_nothing(tmp_path: Path) -> None:
    program = """
logs = start()
try:
    logs.configure(LoggingSettings(access="json", access_file=sys.argv[1]))
except FileNotFoundError:
    log.info("still here")
logs.close()
"""
    output = run(program, str(tmp_path / "missing" / "access"))
    assert [entry["event"] for entry in entries(output)] == ["still here"]


def test_a_reader_that_does_not_read_stops_nothing() -> None:
    """Standard error is a full pipe: logging goes on, lines are counted, exit is not delayed."""
    program = """
read, write = os.pipe()
kept = os.dup(2)
os.dup2(write, 2)
logs = start()
for number in range(20_000):
    log.info("line", number=number)
written = logs.close(timeout_s=0.2)
[[labels, dropped]] = [row for row in metrics.snapshot()["vestibule_log_dropped_total"]
                       if row[0] == ["main"]]
os.write(kept, json.dumps([written, dropped]).encode())
"""
    written, dropped = json.loads(run(program))
    assert written is False
    assert dropped > 5_000
