"""What the judge asks for that does not apply: `skips.yaml`, and its strict application.

Rules: every line is there because of a text, never because of a defect; a line that no longer
matches a failure, or that matches what passes, is told like a failure, so none outlives its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from tests.interop.judge import Verdict

__all__ = ["ANSWERS", "CERTIFICATES", "Skip", "load", "problems"]

ANSWERS = ("direct", "retry", "adaptive")
CERTIFICATES = ("ecdsa", "rsa", "both")

_FILE = Path(__file__).with_name("skips.yaml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """One reason, and the conversations that it takes out."""

    rfc: str
    """Document and section."""
    reason: str
    """What it says, and what the script expects instead."""
    scripts: dict[str, list[str]]
    """Patterns for whole names of conversations, by the script's id."""
    answers: Sequence[str] = ANSWERS
    """The answer modes in which it holds."""
    certificates: Sequence[str] = CERTIFICATES
    """The kinds of certificates with which it holds."""
    strict: bool = True
    """Off where it holds at times: under load `adaptive` retries."""

    def __post_init__(self) -> None:
        for value, allowed in ((self.answers, ANSWERS), (self.certificates, CERTIFICATES)):
            if not value or not set(value) <= set(allowed):
                raise ValueError(f"not of {allowed}: {value}")
        if not (self.rfc.strip() and self.reason.strip() and self.scripts):
            raise ValueError(f"incomplete: {self}")

    def patterns(self, script: str, answer: str, certificates: str) -> list[str]:
        """What it takes out of a script; nothing where it does not hold."""
        holds = answer in self.answers and certificates in self.certificates
        return self.scripts.get(script, []) if holds else []


@dataclass(frozen=True, slots=True)
class _Applied:
    """What is taken out of one script, and what of that has to fail."""

    patterns: Sequence[str]
    strict: Sequence[str]


def load(text: str | None = None) -> list[Skip]:
    """Read `skips.yaml`, or a text in its form. Raises ValueError for what is no skip."""
    sections = yaml.safe_load(_FILE.read_text() if text is None else text)
    known = {field.name for field in fields(Skip)}
    skips: list[Skip] = []
    for title, section in sections.items():
        for one in section:
            if unknown := one.keys() - known:
                raise ValueError(f"{title}: no such keys: {', '.join(sorted(unknown))}")
            skips.append(Skip(**one))
    return skips


def problems(
    verdicts: Iterable[Verdict], skips: Sequence[Skip], *, answer: str, certificates: str
) -> list[str]:
    """What is wrong with the server, or with the skips: nothing where a run is good."""
    told: list[str] = []
    for verdict in verdicts:
        found = [
            (pattern, skip.strict)
            for skip in skips
            for pattern in skip.patterns(verdict.script, answer, certificates)
        ]
        patterns = [pattern for pattern, _ in found]
        told += _told(verdict, _Applied(patterns, [one for one, strict in found if strict]))
    return told


def _told(verdict: Verdict, applied: _Applied) -> list[str]:
    if verdict.status not in ("PASS", "FAIL") or (verdict.status == "FAIL" and not verdict.failed):
        return [f"{verdict.script}: {verdict.status}\n{verdict.detail}"]
    told = [
        f"{verdict.script}: failed: {name}"
        for name in sorted(verdict.failed)
        if not _matches(applied.patterns, name)
    ]
    told += [
        f"{verdict.script}: passes, but is skipped: {name}"
        for name in sorted(verdict.passed)
        if _matches(applied.strict, name)
    ]
    told += [
        f"{verdict.script}: skipped, but nothing fails: {pattern}"
        for pattern in applied.strict
        if not any(_matches([pattern], name) for name in verdict.failed)
    ]
    return told


def _matches(patterns: Iterable[str], name: str) -> bool:
    return any(re.fullmatch(pattern, name, re.DOTALL) for pattern in patterns)
