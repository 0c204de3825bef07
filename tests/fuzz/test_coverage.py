"""What the corpus alone reaches, by the command that says so."""

import importlib.util
import subprocess
import sys

import pytest

from tests.fuzz.coverage import Row, table
from tests.fuzz.harness import ROOT


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage is optional")
def test_the_corpus_reaches_most_of_the_code() -> None:
    command = [sys.executable, "-m", "tests.fuzz.coverage"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    for package in ("proxy/wire", "proxy/tls", "proxy/handoff", "proxy/config", "all"):
        assert float(rows[package][2].rstrip("%")) > 85, rows[package]
    assert "proxy/tls/cookie.py" in rows


def test_table() -> None:
    rows = [Row("a/b.py", 4, 3, 2, 1, "7-9"), Row("a/c.py", 4, 4, 0, 0)]
    lines = table(rows).splitlines()
    assert lines[1].split() == ["a/b.py", "3/4", "75.0%", "1/2", "50.0%", "7-9"]
    assert lines[2].split() == ["a/c.py", "4/4", "100.0%", "0/0", "-"]
    assert lines[-2].split() == ["a", "7/8", "87.5%", "1/2", "50.0%"]
    assert lines[-1].split()[0] == "all"
