"""`python -m tests.fuzz --seconds 60 [--target hello ...] [--jobs 2] [--found DIRECTORY]`.

Runs targets for so long each, shows how it goes, and ends with one line a target. A finding makes
the status 1, and its reproducer and the command that replays it are printed.
"""

import argparse
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from tests.fuzz.harness import NAMES
from tests.fuzz.runner import Summary, run_all

__all__ = ["Progress", "main"]

_LINE_EVERY_S: Final = 15.0
_REDRAW_EVERY_S: Final = 1.0


def _default_found() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "vestibule-fuzz"


class Progress:
    """One line that is drawn anew on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._every_s = _REDRAW_EVERY_S if self._is_terminal else _LINE_EVERY_S
        self._last_s = time.monotonic() - self._every_s

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        if text and now - self._last_s >= self._every_s:
            self._last_s = now
            sys.stdout.write(f"\r\033[K{text}" if self._is_terminal else f"{text}\n")
            sys.stdout.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._is_terminal:
            sys.stdout.write("\r\033[K")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (default 60)")
    parser.add_argument("--target", nargs="+", choices=NAMES, default=NAMES, help="default: all")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default 1)")
    parser.add_argument(
        "--found",
        type=Path,
        default=_default_found(),
        metavar="DIRECTORY",
        help="where inputs that reach new code are read and kept, and findings (%(default)s)",
    )
    return parser


def _tell(summary: Summary) -> None:
    sys.stdout.write(f"\n{summary.target}: finding (status {summary.status})\n{summary.text}\n")
    if summary.reproducer is not None:
        sys.stdout.write(f"{summary.target}: {summary.replay()}\n\n")


def main(arguments: list[str] | None = None) -> int:
    """Run; the status for the shell."""
    chosen = _parser().parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("fuzzing needs atheris: pip install 'vestibule[fuzz]'\n")
        return 2
    progress = Progress()
    summaries = run_all(
        chosen.target, chosen.seconds, max(1, chosen.jobs), chosen.found.absolute(), progress
    )
    progress.end()
    findings = [summary for summary in summaries if summary.is_finding]
    for summary in findings:
        _tell(summary)
    for summary in sorted(summaries, key=lambda one: chosen.target.index(one.target)):
        sys.stdout.write(f"{summary.line()}\n")
    return 1 if findings else 0


if __name__ == "__main__":
    # Either way the targets' processes are ended first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
