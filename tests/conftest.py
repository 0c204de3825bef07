"""What every test run shares: counts that scale, rows of the requirements, and the rule on skips.

Owns these options:

    --full-scale         run at the counts that the README states (default: reduced ones)
    --requirement A35    run only the tests that show this row; may be given several times
    --no-unlisted-skips  a test that skips fails, unless tests/allowed_skips.txt names it
    --image NAME         also run the tests of a built container image
    --report-dir DIR     write what the end-to-end tests measure there, as JSON

Rule: a check that did not run is never mistaken for one that passed, so continuous integration uses
`--no-unlisted-skips`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

import proxy.wire

# Either form of the product is tested: see setup.py.
IS_COMPILED = not str(proxy.wire.__file__).endswith(".py")
ALLOWED_SKIPS_FILE = Path(__file__).with_name("allowed_skips.txt")

# A loaded machine is no defect of what is tested.
hypothesis.settings.register_profile("vestibule", deadline=None)
hypothesis.settings.load_profile("vestibule")

_ROW = re.compile(r"[A-E][1-9][0-9]?")
_ALLOWED_SKIPS = pytest.StashKey["AllowedSkips"]()


@dataclass(frozen=True, slots=True)
class Scale:
    """Picks the count for this run: `scale(reduced=500, full=15_000)`."""

    is_full: bool

    def __call__(self, *, reduced: int, full: int) -> int:
        return full if self.is_full else reduced


@dataclass(frozen=True, slots=True)
class AllowedSkips:
    """Node ids that may skip. A test function's id covers all of its parameters."""

    node_ids: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> AllowedSkips:
        """Read `node id: reason` lines; blank ones and those that begin with # are left out.

        Raises pytest.UsageError for a line without a reason.
        """
        node_ids: set[str] = set()
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip() or line.startswith("#"):
                continue
            node_id, separator, reason = line.partition(": ")
            if not separator or not reason.strip():
                raise pytest.UsageError(f"allowed skips, line {number}: no reason: {line!r}")
            node_ids.add(node_id.strip())
        return cls(frozenset(node_ids))

    def covers(self, node_id: str) -> bool:
        """Whether this test or module may skip."""
        return node_id in self.node_ids or node_id.partition("[")[0] in self.node_ids


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vestibule")
    group.addoption("--full-scale", action="store_true", help="run at the counts of the README")
    group.addoption(
        "--requirement",
        action="append",
        default=[],
        metavar="ROW",
        help="run only tests that show this row of the requirements, such as A35",
    )
    group.addoption(
        "--no-unlisted-skips",
        action="store_true",
        help=f"fail what skips without being listed in tests/{ALLOWED_SKIPS_FILE.name}",
    )
    group.addoption("--image", metavar="NAME", help="also test this built container image")
    group.addoption(
        "--report-dir",
        type=Path,
        metavar="DIR",
        help="write what the end-to-end tests measure into this directory, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "image: needs a built container image, given by --image")
    if config.getoption("--no-unlisted-skips"):
        config.stash[_ALLOWED_SKIPS] = AllowedSkips.parse(ALLOWED_SKIPS_FILE.read_text())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = set(config.getoption("--requirement"))
    kept = [item for item in items if _is_wanted(item, wanted, config.getoption("--image"))]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # An expected failure is reported as skipped too, but has run.
    if report.skipped and not hasattr(report, "wasxfail"):
        _fail_if_unlisted(item.config, report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _fail_if_unlisted(collector.config, report)
    return report


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> Scale:
    """Counts for this run: reduced ones unless --full-scale is given."""
    return Scale(is_full=bool(request.config.getoption("--full-scale")))


def requirement_rows(item: pytest.Item) -> set[str]:
    """The rows that a test shows. Raises pytest.UsageError for what is no row, such as A1-A3."""
    rows = {str(row) for mark in item.iter_markers("requirement") for row in mark.args}
    wrong = sorted(row for row in rows if not _ROW.fullmatch(row))
    if wrong:
        raise pytest.UsageError(f"{item.nodeid}: no rows of the requirements: {', '.join(wrong)}")
    return rows


def _is_wanted(item: pytest.Item, rows: Iterable[str], image: str | None) -> bool:
    shown = requirement_rows(item)
    if image is None and item.get_closest_marker("image") is not None:
        return False
    if IS_COMPILED and item.get_closest_marker("patches") is not None:
        return False
    return not rows or not shown.isdisjoint(rows)


def _fail_if_unlisted(
    config: pytest.Config, report: pytest.TestReport | pytest.CollectReport
) -> None:
    allowed = config.stash.get(_ALLOWED_SKIPS, None)
    if allowed is None or allowed.covers(report.nodeid):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"unlisted skip, see tests/{ALLOWED_SKIPS_FILE.name}: {reason}"
