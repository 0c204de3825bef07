"""Runs one target under atheris: `main("hello")` for `python -m tests.fuzz.hello`.

Arguments are libFuzzer's. The corpus in the repository is read; inputs that reach new code go to
a directory of their own, so that a run changes no file of the project.
"""

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["CORPUS", "main"]

CORPUS: Final = Path(__file__).with_name("corpus")


def main(name: str) -> None:
    """Fuzz one target of `TARGETS` until libFuzzer's arguments end it."""
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing needs atheris: pip install 'vestibule[fuzz]'")
    with atheris.instrument_imports(include=["proxy.wire", "proxy.tls"]):
        invariant = importlib.import_module("tests.fuzz.invariant")
    found = Path(tempfile.gettempdir()) / f"vestibule-fuzz-{name}"
    found.mkdir(exist_ok=True)
    arguments = [*sys.argv, f"-artifact_prefix={found}/", str(found), str(CORPUS / name)]
    atheris.Setup(arguments, invariant.TARGETS[name])
    atheris.Fuzz()
