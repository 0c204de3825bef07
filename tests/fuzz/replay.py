"""`python -m tests.fuzz.replay hello FILE...`: inputs through a target, without atheris.

A finding ends in an ordinary traceback; everything else prints how far the input came.
"""

import argparse
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the target on each file."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.replay", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    for path in chosen.files:
        sys.stdout.write(f"{path}: {TARGETS[chosen.target](path.read_bytes())}\n")


if __name__ == "__main__":
    main()
