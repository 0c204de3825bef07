"""`python -m tests.bench`: starts everything, measures in rotation, writes the report.

Rules: all servers share one core and all load the other, so it needs two, and root to see the
kernel's memory; what is missing on a machine is named, and the rest is measured. The exit status
says whether everything was measured, not whether goals are met: that is the table's to say.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from proxy.app.bench.bench import cpu_model
from proxy.app.bench.progress import Progress
from proxy.app.bench.rotation import Case, Samples, rotate
from proxy.app.bench.server import Server
from proxy.app.failures import OperatorError
from proxy.app.hardening import raise_descriptor_limit
from proxy.cli import version_text
from tests.bench import cases, fresh
from tests.bench.load import Lg
from tests.bench.peers import NAMES, TUNED, Missing, Peers, vestibule_name
from tests.bench.plots import plots
from tests.bench.profiling import profiles
from tests.bench.table import markdown

_ANSWERS = ("direct", "retry", "adaptive")
_GROUPS = (*cases.GROUPS, *fresh.GROUPS)
_FRESH_SHARE = 3
"""Fresh servers are started anew for each number: a third of the rounds, at least one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise_descriptor_limit()
    try:
        return _run(options)
    except (OperatorError, Missing) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=_GROUPS,
        default=_GROUPS,
        metavar="NAME",
        help=", ".join(_GROUPS),
    )
    parser.add_argument(
        "--rounds", type=_positive, default=9, metavar="N", help="default: %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--direct-only", action="store_true", help="leave retry and adaptive out")
    parser.add_argument(
        "--profile", action="store_true", help="then watch Vestibule by perf and py-spy"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, not {text!r}")
    return int(text)


def _run(options: argparse.Namespace) -> int:
    core, load_core = _cores()
    answers = _ANSWERS[:1] if options.direct_only else _ANSWERS
    samples = Samples()
    began = time.time()
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as cleanup:
        home = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="vestibule-bench-")))
        lg = Lg(home, load_core)
        peers = Peers.prepared(home, core, load_core)
        cleanup.enter_context(peers.backend())
        _measure_running(options, peers, lg, answers, samples)
        _measure_fresh(options, peers, lg, answers, samples)
        facts = _facts(options, began)
        _write(options.out, samples, facts)
        if options.profile:
            _profile(options.out, peers, lg, answers)
    return 1 if samples.remarks else 0


def _measure_running(
    options: argparse.Namespace, peers: Peers, lg: Lg, answers: Sequence[str], samples: Samples
) -> None:
    """What is measured of servers that all run at once."""
    groups = [name for name in options.only if name in cases.GROUPS]
    if not groups:
        return
    with contextlib.ExitStack() as cleanup:

        def started(names: Iterable[str]) -> Iterator[Server]:
            for name in names:
                try:
                    yield cleanup.enter_context(peers.server(name))
                except Missing as error:
                    samples.remarks.append(f"{name}: {error}")

        field = cases.Field(
            list(started([*NAMES, *map(vestibule_name, answers)])),
            list(started(TUNED if "bulk" in groups else ())),
            lg,
        )
        wanted = [case for name in groups for case in cases.GROUPS[name](field)]
        _rotate(wanted, options.rounds, samples)


def _measure_fresh(
    options: argparse.Namespace, peers: Peers, lg: Lg, answers: Sequence[str], samples: Samples
) -> None:
    """What is measured of servers that are started for it."""
    groups = [name for name in options.only if name in fresh.GROUPS]
    wanted = [case for name in groups for case in fresh.GROUPS[name](peers, lg, answers)]
    _rotate(wanted, max(1, options.rounds // _FRESH_SHARE), samples)


def _rotate(wanted: Sequence[Case], rounds: int, samples: Samples) -> None:
    with Progress(len(wanted) * rounds, sys.stderr) as progress:
        rotate(wanted, rounds, samples, lambda one: progress.step(f"{one.measure}: {one.subject}"))


def _write(out: Path, samples: Samples, facts: dict[str, str]) -> None:
    drawn = plots(samples)
    for name, text in drawn.items():
        (out / name).write_text(text)
    report = markdown(samples, facts, list(drawn))
    (out / "README.md").write_text(report)
    (out / "samples.json").write_text(json.dumps({"facts": facts, **samples.document()}, indent=1))
    sys.stdout.write(report)
    sys.stdout.flush()


def _profile(out: Path, peers: Peers, lg: Lg, answers: Sequence[str]) -> None:
    for answer in answers:
        with peers.vestibule(answer) as server:
            for name, text in profiles(server, lg, peers.home):
                (out / name).write_text(text)
                sys.stdout.write(f"{out / name}\n")


def _cores() -> tuple[int, int]:
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Missing("two CPUs are needed: one for the servers, one for the load")
    return usable[0], usable[1]


def _facts(options: argparse.Namespace, began: float) -> dict[str, str]:
    minutes = (time.time() - began) / 60
    asked = f"--rounds {options.rounds} --only {' '.join(options.only)}"
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return {
        "command": f"`python -m tests.bench {asked}`",
        "when": f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(began))}, {minutes:.0f} minutes",
        "machine": f"{cpu_model()}, {system}",
        "version": version_text(),
        "load average of the last 15 minutes": f"{os.getloadavg()[2]:.1f}",
    }


if __name__ == "__main__":
    sys.exit(main())
