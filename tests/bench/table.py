"""The results as Markdown: goals with verdicts first, then every number of every server. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from proxy.app.bench.figures import Figure
from proxy.app.bench.report import shown
from proxy.app.bench.rotation import Samples
from tests.bench.goals import GOALS, QUANTITIES, Quantity
from tests.bench.peers import NGINX

__all__ = ["markdown"]


def markdown(samples: Samples, facts: Mapping[str, str], plots: Sequence[str]) -> str:
    """The whole report; `plots` are names of files beside it."""
    parts = [
        "# What it costs, beside others on the same machine",
        *(f"- {name}: {value}" for name, value in facts.items()),
        "",
        "Medians over the rounds, the middle half of them in brackets; a ratio is taken to nginx",
        "in the same round. CPU time is that of all processes of a server. Less is better.",
        "",
        "## Goals",
        "",
        *_goals(samples),
        *(f"\n![{name}]({name})" for name in plots),
        *(line for quantity in QUANTITIES for line in _section(quantity, samples)),
        *_scaling(samples),
    ]
    if samples.remarks:
        parts += ["", "## Not measured", "", *(f"- {remark}" for remark in samples.remarks)]
    return "\n".join(parts) + "\n"


def _goals(samples: Samples) -> Iterator[str]:
    rows = []
    for goal in GOALS:
        verdict = goal.judged(samples)
        unit = "" if goal.unit in ("ratio", "slope") else f" {goal.unit}"
        found = "-" if verdict.found is None else f"{_with_spread(verdict.found)}{unit}"
        rows.append((goal.title, goal.subject, f"<= {goal.limit:g}{unit}", found, verdict.text))
    yield from _table(("what", "server", "goal", "measured", "verdict"), rows)


def _section(quantity: Quantity, samples: Samples) -> Iterator[str]:
    rows = []
    for subject in samples.subjects(quantity.measure, quantity.name):
        found = samples.figure(quantity.measure, quantity.name, subject)
        if found is None:
            continue
        ratio = samples.ratio(quantity.measure, quantity.name, subject, NGINX)
        unit = f" {quantity.unit}" if quantity.unit else ""
        row = (subject, f"{_with_spread(found)}{unit}", str(found.rounds))
        rows.append((*row, "-" if ratio is None else _with_spread(ratio)))
    if not rows:
        return
    yield from ("", f"## {quantity.title}", "")
    head = ("server", "median", "rounds", "to nginx")
    columns = len(head) if quantity.compared else len(head) - 1
    yield from _table(head[:columns], [row[:columns] for row in rows])


def _scaling(samples: Samples) -> Iterator[str]:
    """CPU per hello at each level of half-open clients."""
    names = samples.numbers.get("scaling", {})
    levels = sorted(int(name.removeprefix("cpu_us_")) for name in names if "cpu_us_" in name)
    if not levels:
        return
    yield from ("", "## CPU per hello by half-open clients (us)", "")
    rows = []
    for subject in samples.subjects("scaling", f"cpu_us_{levels[0]}"):
        for prefix, title in (("cpu", subject), ("control", f"nginx, idle, beside {subject}")):
            figures = (samples.figure("scaling", f"{prefix}_us_{n}", subject) for n in levels)
            rows.append((title, *("-" if one is None else shown(one.median) for one in figures)))
    yield from _table(("server", *(f"{level:,}" for level in levels)), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _with_spread(found: Figure) -> str:
    if found.rounds == 1:
        return shown(found.median)
    return f"{shown(found.median)} ({shown(found.low)}-{shown(found.high)})"
