"""The corpus through the fuzz targets' invariants, and the harness where atheris is there."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.harness import CORPUS
from tests.fuzz.invariant import TARGETS

FILES = [path for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_corpus(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_corpus_truncated_and_changed(path: Path) -> None:
    data, target = path.read_bytes(), TARGETS[path.parent.name]
    step = max(1, len(data) // 50)
    for index in range(0, len(data), step):
        target(data[:index])
        target(data[:index] + bytes((data[index] ^ 0xFF,)) + data[index + 1 :])


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_has_a_corpus_and_a_script(target: str) -> None:
    assert any(path.parent.name == target for path in FILES)
    assert importlib.util.find_spec(f"tests.fuzz.{target}") is not None


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is optional")
@pytest.mark.parametrize("target", TARGETS)
def test_harness_runs(target: str) -> None:
    command = [sys.executable, "-m", f"tests.fuzz.{target}", "-runs=200", "-seed=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Done 200 runs" in done.stderr
