"""The rules of a test run itself, shown by pytest runs over small files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import AllowedSkips, Scale

ROOT = Path(__file__).resolve().parent.parent

SKIPS_IN_THE_TEST = "import pytest\ndef test_it(): pytest.skip('no such program')\n"
SKIPS_BY_MARK = "import pytest\n@pytest.mark.skip(reason='not today')\ndef test_it(): pass\n"
SKIPS_AS_A_WHOLE = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
ROWS = """
import pytest
@pytest.mark.requirement("A1", "A35")
def test_both(): pass
@pytest.mark.requirement("A2")
def test_other(): pass
def test_none(): pass
"""


def run_pytest(directory: Path, code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with our conftest over one file of its own."""
    (directory / "test_it.py").write_text(code)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = requirement\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--rootdir", directory, directory, *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("code", [SKIPS_IN_THE_TEST, SKIPS_BY_MARK, SKIPS_AS_A_WHOLE])
def test_an_unlisted_skip_fails_the_run(tmp_path: Path, code: str) -> None:
    done = run_pytest(tmp_path, code, "--no-unlisted-skips")
    assert done.returncode != 0
    assert "unlisted skip" in done.stdout
    assert " error in " in done.stdout or " failed in " in done.stdout


@pytest.mark.parametrize("code", [SKIPS_IN_THE_TEST, SKIPS_BY_MARK])
def test_a_skip_passes_where_nobody_counts_them(tmp_path: Path, code: str) -> None:
    done = run_pytest(tmp_path, code)
    assert done.returncode == 0
    assert "1 skipped" in done.stdout


def test_a_listed_skip_covers_a_function_with_its_parameters() -> None:
    allowed = AllowedSkips.parse("# why\n\ntests/test_a.py::test_b: promtool is not installed\n")
    assert allowed.covers("tests/test_a.py::test_b")
    assert allowed.covers("tests/test_a.py::test_b[one]")
    assert not allowed.covers("tests/test_a.py::test_bc")
    assert not allowed.covers("tests/test_a.py")


@pytest.mark.parametrize("line", ["tests/test_a.py::test_b", "tests/test_a.py::test_b: "])
def test_a_listed_skip_carries_its_reason(line: str) -> None:
    with pytest.raises(pytest.UsageError, match="line 1: no reason"):
        AllowedSkips.parse(line)


def test_the_tests_of_one_requirement_can_be_run_alone(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, ROWS, "--requirement", "A35", "-v")
    assert done.returncode == 0
    assert "test_both" in done.stdout
    assert "1 passed, 2 deselected" in done.stdout


def test_a_requirement_is_one_row(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, ROWS.replace('"A2"', '"A2-A5"'))
    assert done.returncode != 0
    assert "no rows of the requirements: A2-A5" in done.stdout + done.stderr


def test_counts_are_reduced_unless_full_scale_is_asked_for() -> None:
    assert Scale(is_full=False)(reduced=500, full=15_000) == 500
    assert Scale(is_full=True)(reduced=500, full=15_000) == 15_000
