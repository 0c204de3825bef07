"""`python -m tests.soak [--minutes 20] [--out DIR]`: mixed load on a proxy, and whether it grows.

Prints a table of what each process gained, writes `soak.svg` and `soak.json` into DIR, and ends
with status 1 where something grew beyond its bound (see tests/soak/slope.py), an honest client
failed, a process was replaced, or anything was left when the load had gone. The first quarter of
the time warms up and is not judged.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.e2e.attacks.driver import Driver
from tests.e2e.attacks.victims import Pace, Victims
from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.peers import free_port
from tests.soak.mix import Mix, Tally
from tests.soak.plot import plot
from tests.soak.samples import Samples
from tests.soak.slope import BOUNDS, Trend, trend

_LOOK_EVERY_S = 5.0
_WARM_SHARE = 0.25
_ANSWERS = ("adaptive", "retry", "direct")
_PACE = Pace(established=8, requests_per_s=5, handshakes_per_s=5)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path("soak"), help="default: %(default)s")
    options = parser.parse_args()
    lasts_s = 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="vestibule-soak-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        samples, tally, faults = _run(directory, lasts_s)
    warm_s = _WARM_SHARE * lasts_s
    trends = {
        key: trend(series.since(warm_s), BOUNDS[key[1]])
        for key, series in samples.series.items()
        if series.since(warm_s).values
    }
    faults += [f"{error} (honest)" for error in tally.errors[:10]]
    faults += [
        f"{process}: {quantity} grew by {one.gained:g}"
        for (process, quantity), one in trends.items()
        if not one.is_bounded
    ]
    _write(options.out, samples, trends, tally, faults, warm_s)
    sys.stdout.write(f"{_table(trends)}\n{tally}\n")
    sys.stdout.write("".join(f"FAULT: {fault}\n" for fault in faults) or "nothing grew\n")
    return 1 if faults else 0


def _run(directory: Path, lasts_s: float) -> tuple[Samples, Tally, list[str]]:
    """Load a proxy for so long; also what is wrong already."""
    with _proxy(directory) as (proxy, ports, authority, backend), contextlib.ExitStack() as ends:
        driver = ends.enter_context(Driver())
        victims = [ends.enter_context(Victims(port, authority.file, _PACE)) for port in ports[:2]]
        samples = Samples()
        pids = proxy.all_pids()
        with Mix(proxy, ports, authority, backend, victims, driver) as mix:
            while samples.elapsed_s < lasts_s:
                samples.look(proxy)
                time.sleep(_LOOK_EVERY_S)
        ends.close()  # honest clients too
        faults = [] if proxy.all_pids() == pids else ["a process was replaced"]
        try:
            eventually(lambda: _held(proxy) == 0)
        except AssertionError:
            faults.append(f"{_held(proxy):g} connections or handshakes are left")
        samples.look(proxy)
    return samples, mix.tally, faults


@contextlib.contextmanager
def _proxy(directory: Path) -> Iterator[tuple[Vestibule, list[int], Authority, Backend]]:
    """A proxy with a listener for each answer mode, in front of nginx."""
    for name in ("authority", "backend", "proxy"):
        (directory / name).mkdir()
        (directory / name).chmod(0o755)
    authority = Authority(directory / "authority")
    with Backend(directory / "backend", authority) as backend:
        content = backend.settings(authority, authority.files())
        (first,) = content["listeners"]
        ports = [free_port() for _ in _ANSWERS]
        content["listeners"] = [
            {
                **copy.deepcopy(first),
                "name": answer,
                "answer": answer,
                "bind": [f"127.0.0.1:{port}"],
            }
            for answer, port in zip(_ANSWERS, ports, strict=True)
        ]
        with Vestibule(directory / "proxy", content) as proxy:
            yield proxy, ports, authority, backend


def _held(proxy: Vestibule) -> float:
    scrape = proxy.metrics()
    return scrape.value("vestibule_connections_open") + scrape.value(
        "vestibule_handshakes_half_open"
    )


def _table(trends: Mapping[tuple[str, str], Trend]) -> str:
    heads = ("process", "quantity", "median", "per hour", "gained", "bound", "")
    rows = [
        (
            process,
            quantity,
            f"{one.median:,.0f}",
            f"{one.per_hour:+,.1f}",
            f"{one.gained:+,.1f}",
            f"{one.bound:,.0f}",
            "" if one.is_bounded else "GROWS",
        )
        for (process, quantity), one in sorted(trends.items())
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (heads, *rows)
    )


def _write(
    out: Path,
    samples: Samples,
    trends: Mapping[tuple[str, str], Trend],
    tally: Tally,
    faults: list[str],
    warm_s: float,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    title = f"Soak of {samples.elapsed_s / 60:.0f} minutes (grey: warming up)"
    (out / "soak.svg").write_text(plot(title, samples.series, warm_s))
    document: dict[str, Any] = {
        "tally": asdict(tally),
        "faults": faults,
        "trends": {" / ".join(key): asdict(one) for key, one in trends.items()},
        "series": {" / ".join(key): asdict(one) for key, one in samples.series.items()},
    }
    (out / "soak.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(_main())
