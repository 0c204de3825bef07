"""The command, with real runs: one that finds nothing, and one whose code has been broken."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.harness import CORPUS, ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is optional"
)


def run(found: Path, *targets: str) -> int:
    return main(["--seconds", "1", "--jobs", "2", "--found", str(found), "--target", *targets])


def test_no_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(CORPUS.rglob("*"))
    assert run(tmp_path / "found", "cookie", "reply") == 0
    *_, cookie, reply = capsys.readouterr().out.splitlines()
    assert (cookie.split()[0], reply.split()[0]) == ("cookie", "reply")
    for line in (cookie, reply):
        assert line.endswith("0 findings")
        assert int(line.split()[1]) > 100
        assert int(line.split()[6]) > 50
    assert any((tmp_path / "found" / "reply").iterdir()), "nothing new was kept"
    assert not any((tmp_path / "found" / "findings").iterdir())
    assert sorted(CORPUS.rglob("*")) == before


def test_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a comparison that always agrees, cookies redeem that must not."""
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import hmac\nhmac.compare_digest = lambda one, other: True\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run(tmp_path / "found", "cookie") == 1
    output = capsys.readouterr().out
    # Which of the false cookies is met first is chance: one of random bytes cannot even be read.
    assert "Uncaught Python exception" in output
    assert output.splitlines()[-1].endswith("1 finding")
    (reproducer,) = (tmp_path / "found" / "findings").iterdir()
    command = f"python -m tests.fuzz.replay cookie {reproducer}"
    assert f"cookie: {command}" in output
    again = [sys.executable, *command.split()[1:]]
    failed = subprocess.run(again, capture_output=True, text=True, cwd=ROOT)
    assert failed.returncode == 1
    assert "Traceback" in failed.stderr
    broken.unlink()
    mended = subprocess.run(again, capture_output=True, text=True, cwd=ROOT)
    assert mended.returncode == 0, mended.stderr
    assert mended.stdout == f"{reproducer}: refused\n"
