"""One target under atheris: `python -m tests.fuzz.harness hello -max_total_time=60 DIRECTORY`.

Arguments behind the name are libFuzzer's. The repository's corpus is read and never written:
inputs that reach new code go to the first directory given. The code under test is instrumented as
it is imported, so nothing of it may be imported here. libFuzzer ends the process without cleaning
up, so temporary files stay in TMPDIR: the runner makes one for each process.
"""

import importlib
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

__all__ = ["CORPUS", "NAMES", "ROOT", "main"]

CORPUS: Final = Path(__file__).with_name("corpus")
ROOT: Final = Path(__file__).parents[2]
NAMES: Final = ("second_hello", "cookie", "hello", "reply", "records", "capsule", "config")
"""The targets in the order of a run; the same as in `targets.py`."""

_INSTRUMENTED: Final = ["proxy.wire", "proxy.tls", "proxy.handoff"]
_OF_CONFIG: Final = ["proxy.config"]
# Above every bound that the targets' inputs meet: 64 KiB of hello, 64 KiB of a script's step.
_LONGEST: Final = 1 << 17
# A finding: one input that takes so much of the processor, or a process that grows so large.
_PROCESSOR_S, _MEBIBYTES = 10.0, 768
# libFuzzer's own bound is of the clock, which goes on while the process is stopped.
_CLOCK_S = 1 << 20


class TooSlow(BaseException):
    """An input took too long. Not an Exception, so that nothing under test takes it for its own."""


def _module(name: str) -> Any:
    return importlib.import_module(f"tests.fuzz.{name}")


def main(arguments: list[str]) -> None:
    """Fuzz one target of `NAMES` until libFuzzer's arguments end it."""
    name, *options = arguments
    try:
        import atheris
    except ImportError:
        sys.exit("fuzzing needs atheris: pip install 'vestibule[fuzz]'")
    with atheris.instrument_imports(include=_OF_CONFIG if name == "config" else _INSTRUMENTED):
        target: Callable[[bytes], str] = getattr(_module(name), name)

    def mutate(content: bytes, most: int) -> bytes:
        # Looked up late: Fuzz() puts the real function in the place of one that only complains.
        changed: bytes = atheris.Mutate(content, most)
        return changed

    def too_slow(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlow

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, _PROCESSOR_S)
        target(data)

    scratch = Path(tempfile.mkdtemp(prefix="vestibule-fuzz-"))
    defaults = [f"-max_len={_LONGEST}", f"-timeout={_CLOCK_S}", f"-rss_limit_mb={_MEBIBYTES}"]
    defaults.append(f"-artifact_prefix={scratch}/")
    signal.signal(signal.SIGPROF, too_slow)
    extra = {}
    if name == "config":
        extra["custom_mutator"] = _module("words").mutator(mutate)
        words = scratch / "words"
        words.write_text(_module("words").dictionary())
        defaults.append(f"-dict={words}")
    elif name in ("hello", "second_hello"):
        extra["custom_mutator"] = _module("mutation").mutator(name, mutate)
    if all(option.startswith("-") for option in options):
        # libFuzzer writes to the first directory, which must not be the repository's.
        options.append(str(scratch))
    atheris.Setup([sys.argv[0], *defaults, *options, str(CORPUS / name)], run, **extra)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
