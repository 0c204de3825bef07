"""What each number is called, and the goals that Vestibule's are held to. Pure.

Rules: a goal is met by the median, not by a lucky round; one whose number was not measured is open,
never met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.app.bench.figures import Figure
from proxy.app.bench.rotation import Samples
from tests.bench.peers import NGINX, vestibule_name

__all__ = ["GOALS", "QUANTITIES", "Goal", "Quantity", "Verdict"]

DIRECT, RETRY, ADAPTIVE = (vestibule_name(answer) for answer in ("direct", "retry", "adaptive"))


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of a measure, as tables and plots name it."""

    measure: str
    name: str
    title: str
    unit: str
    compared: bool = True
    """Whether its ratio to nginx says something."""

    @property
    def key(self) -> str:
        """For file names."""
        return f"{self.measure}-{self.name}".replace("_", "-")


QUANTITIES = (
    Quantity("hello-ecdsa", "cpu_us", "CPU per abandoned hello, ECDSA, 300-byte hello", "us"),
    Quantity("hello-ecdsa-browser", "cpu_us", "CPU per abandoned hello, ECDSA, Chromium's", "us"),
    Quantity("hello-rsa", "cpu_us", "CPU per abandoned hello, RSA-2048, 300-byte hello", "us"),
    Quantity("hello-rsa-browser", "cpu_us", "CPU per abandoned hello, RSA-2048, Chromium's", "us"),
    Quantity("hello-echo", "cpu_us", "CPU per hello and cookie echo, abandoned, ECDSA", "us"),
    Quantity("handshake-ecdsa", "cpu_us", "CPU per whole handshake + request, ECDSA", "us"),
    Quantity("handshake-single", "cpu_us", "CPU per whole handshake, one at a time, ECDSA", "us"),
    Quantity("handshake-rsa", "cpu_us", "CPU per whole handshake + request, RSA-2048", "us"),
    Quantity("keep-alive", "cpu_us", "CPU per keep-alive request", "us"),
    Quantity("bulk", "cpu_s", "CPU per GB", "s"),
    Quantity("memory", "user_bytes", "User memory per half-open client, 300-byte hello", "B"),
    Quantity("memory-browser", "user_bytes", "User memory per half-open client, Chromium's", "B"),
    Quantity("memory-echo", "user_bytes", "User memory after the second hello, 300 bytes", "B"),
    Quantity("memory-echo-browser", "user_bytes", "User memory after the second, Chromium's", "B"),
    Quantity("memory", "kernel_bytes", "Kernel memory per half-open client, both ends", "B"),
    Quantity("honest", "p50_ms", "Honest client in the flood, median", "ms"),
    Quantity("honest", "p99_ms", "Honest client in the flood, 99th percentile", "ms"),
    Quantity("honest", "calm_p50_ms", "Honest client without a flood, median", "ms"),
    Quantity("established", "calm_p50_ms", "Established, 200 requests/s, calm, median", "ms"),
    Quantity("established", "p50_ms", "Established, 200 requests/s, in the flood, median", "ms"),
    Quantity("established", "calm_p99_ms", "Established, 200 requests/s, calm, p99", "ms"),
    Quantity("established", "p99_ms", "Established, 200 requests/s, in the flood, p99", "ms"),
    Quantity("established", "p99_growth", "Established: p99 in the flood to p99 calm", "", False),
    Quantity("established-saturated", "calm_p99_ms", "Established, all out, calm, p99", "ms"),
    Quantity("established-saturated", "p99_ms", "Established, all out, in the flood, p99", "ms"),
    Quantity(
        "established-saturated",
        "p99_growth",
        "Established, all out: p99 in the flood to p99 calm",
        "",
        False,
    ),
    Quantity("scaling", "slope", "CPU per hello by half-open clients: log-log slope", "", False),
    Quantity("scaling", "control_slope", "The same of idle nginx beside: the machine", "", False),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal, what was measured, and whether it is met; None where nothing was measured."""

    goal: Goal
    found: Figure | None

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the goal."""
        return None if self.found is None else self.found.median <= self.goal.limit

    @property
    def text(self) -> str:
        """In words; a miss by its factor."""
        if self.found is None:
            return "not measured"
        if self.met:
            return "met"
        if self.goal.limit <= 0 or self.goal.unit == "slope":
            return f"missed by {self.found.median - self.goal.limit:.3f}"
        return f"missed by a factor of {self.found.median / self.goal.limit:.2f}"


@dataclass(frozen=True, slots=True)
class Goal:
    """At most `limit`: of the ratio to nginx where the unit is "ratio", else of the number."""

    title: str
    measure: str
    name: str
    subject: str
    limit: float
    unit: str = "ratio"

    def judged(self, samples: Samples) -> Verdict:
        """Hold it against what was measured."""
        if self.unit == "ratio":
            return Verdict(self, samples.ratio(self.measure, self.name, self.subject, NGINX))
        return Verdict(self, samples.figure(self.measure, self.name, self.subject))


def _hello_goals() -> Sequence[Goal]:
    goals = []
    for suffix, sent in (("", "300-byte"), ("-browser", "Chromium's")):
        for key, subject, limit in (
            ("ecdsa", DIRECT, 0.62),
            ("ecdsa", RETRY, 0.15),
            ("rsa", RETRY, 0.07),
        ):
            title = f"CPU per abandoned {sent} hello, {key.upper()}"
            goals.append(Goal(title, f"hello-{key}{suffix}", "cpu_us", subject, limit))
    return goals


def _memory_goals() -> Sequence[Goal]:
    goals = []
    for suffix, sent in (("", "300-byte"), ("-browser", "Chromium's")):
        for key, subject, limit in (
            ("memory", DIRECT, 350),
            ("memory", RETRY, 16),
            ("memory-echo", RETRY, 350),
        ):
            after = "second" if key == "memory-echo" else "first"
            title = f"User memory per client silent after the {after} hello, {sent}"
            goals.append(Goal(title, f"{key}{suffix}", "user_bytes", subject, limit, "B"))
    return goals


_STEADY = "Established p99 in the flood, by its own without"

GOALS: tuple[Goal, ...] = (
    *_memory_goals(),
    *_hello_goals(),
    *(
        Goal("CPU per whole handshake + request, ECDSA", "handshake-ecdsa", "cpu_us", one, 0.85)
        for one in (DIRECT, RETRY, ADAPTIVE)
    ),
    Goal("CPU per GB", "bulk", "cpu_s", DIRECT, 0.8),
    Goal("Honest client in the flood, median", "honest", "p50_ms", ADAPTIVE, 0.3),
    Goal("Honest client in the flood, p99", "honest", "p99_ms", ADAPTIVE, 0.5),
    Goal(f"{_STEADY}, 200 requests/s", "established", "p99_growth", ADAPTIVE, 3, "times"),
    Goal(f"{_STEADY}, all out", "established-saturated", "p99_growth", ADAPTIVE, 3, "times"),
    *(
        Goal("CPU per hello, 1,000 to 60,000 half-open", "scaling", "slope", one, 0.05, "slope")
        for one in (DIRECT, RETRY)
    ),
)
