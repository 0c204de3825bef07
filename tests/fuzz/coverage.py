"""`python -m tests.fuzz.coverage [--found DIRECTORY]`: lines and branches that inputs reach.

Replays the repository's corpus, and what runs have found, through the targets under coverage.py,
and prints a row for each module of the code that bytes from outside meet. Lines that run at import
count, as with coverage.py everywhere.
"""

import argparse
import importlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.fuzz.harness import CORPUS, NAMES, ROOT

__all__ = ["MEASURED", "Row", "main", "measure", "table"]

MEASURED: Final = (
    "proxy/wire/*.py",
    "proxy/tls/*.py",
    "proxy/handoff/capsule.py",
    "proxy/handoff/frames.py",
    "proxy/config/*.py",
)
"""The code that the targets are for, as patterns below the project's root."""


class Row(NamedTuple):
    """One module's counts, or a package's sum of them."""

    name: str
    lines: int
    lines_reached: int
    branches: int
    branches_reached: int
    missing: str = ""

    def text(self) -> str:
        """A row of the table."""
        lines = f"{self.lines_reached:>5}/{self.lines:<5} {self._of_lines():>6}"
        branches = f"{self.branches_reached:>5}/{self.branches:<5} {self._of_branches():>6}"
        return f"{self.name:<36} {lines} {branches}  {self.missing}".rstrip()

    def _of_lines(self) -> str:
        return _percent(self.lines_reached, self.lines)

    def _of_branches(self) -> str:
        return _percent(self.branches_reached, self.branches)


def _percent(reached: int, all_: int) -> str:
    return f"{100 * reached / all_:.1f}%" if all_ else "-"


def measure(inputs: Mapping[str, Iterable[Path]]) -> list[Row]:
    """Replay files by target; one row a module. To be called before anything imports the code."""
    from coverage import Coverage

    patterns = [str(ROOT / pattern) for pattern in MEASURED]
    measuring = Coverage(branch=True, include=patterns, data_file=None, config_file=False)
    measuring.start()
    try:
        targets: Mapping[str, Callable[[bytes], str]]
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        for name, paths in inputs.items():
            for path in paths:
                targets[name](path.read_bytes())
    finally:
        measuring.stop()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measuring.json_report(outfile=report.name)
        files = json.load(report)["files"]
    found = [path for pattern in MEASURED for path in sorted(ROOT.glob(pattern))]
    names = [str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py"]
    return [_row(name, files[name]) for name in names]


def _row(name: str, measured: Mapping[str, Any]) -> Row:
    summary = measured["summary"]
    return Row(
        name,
        summary["num_statements"],
        summary["covered_lines"],
        summary["num_branches"],
        summary["covered_branches"],
        _ranges(measured["missing_lines"]),
    )


def _ranges(numbers: list[int]) -> str:
    """1 2 3 5 as 1-3 5."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [number]
        else:
            ranges.append([number])
    return " ".join("-".join(map(str, one)) for one in ranges)


def table(rows: list[Row]) -> str:
    """All rows, then a sum for each package, then one of all."""
    packages: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        packages[str(Path(row.name).parent)].append(row)
    sums = [_sum(name, inside) for name, inside in packages.items()]
    head = f"{'module':<36} {'lines':>18} {'branches':>18}  lines not reached"
    lines = [head, *(row.text() for row in rows), ""]
    return "\n".join([*lines, *(row.text() for row in [*sums, _sum("all", rows)])])


def _sum(name: str, rows: list[Row]) -> Row:
    return Row(
        name,
        sum(row.lines for row in rows),
        sum(row.lines_reached for row in rows),
        sum(row.branches for row in rows),
        sum(row.branches_reached for row in rows),
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.coverage", description=__doc__)
    parser.add_argument("--found", type=Path, metavar="DIRECTORY", help="of `python -m tests.fuzz`")
    found: Path | None = parser.parse_args(arguments).found
    inputs: dict[str, list[Path]] = {}
    for name in NAMES:
        inputs[name] = sorted((CORPUS / name).iterdir())
        if found is not None and (found / name).is_dir():
            inputs[name] += sorted((found / name).iterdir())
    counts = ", ".join(f"{len(paths)} {name}" for name, paths in inputs.items())
    sys.stdout.write(f"{table(measure(inputs))}\n\ninputs: {counts}\n")


if __name__ == "__main__":
    main()
