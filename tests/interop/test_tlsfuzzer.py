"""The judge's groups for TLS 1.3, in each answer mode, with each kind of certificate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.conftest import Subject
from tests.interop.judge import GROUPS, Judge
from tests.interop.skips import load, problems

# What a client has to know beside what the scripts say.
_ABILITIES: dict[str, tuple[str, ...]] = {
    "direct": (),
    "retry": ("must-retry",),
    "adaptive": ("may-retry",),
    "ecdsa": ("ecdsa",),
}


@pytest.mark.parametrize("group", GROUPS)
def test_all_that_applies_passes(
    judge: Judge, subject: Subject, group: str, tmp_path: Path, scores: list[str]
) -> None:
    abilities = _ABILITIES[subject.answer] + _ABILITIES.get(subject.certificates, ())
    verdicts = judge.run(tmp_path, subject.port, group=group, abilities=abilities)
    told = problems(verdicts, load(), answer=subject.answer, certificates=subject.certificates)
    passed, counted = (sum(one.counts[i] for one in verdicts) for i in range(2))
    scores.append(
        f"{subject.answer:9}{subject.certificates:6}{group:11}{len(verdicts):3} scripts,"
        f"{passed:5} of{counted:5} conversations pass,{len(told):3} problems"
    )
    assert verdicts
    assert not told, "\n".join(told)


@pytest.mark.parametrize(
    ("subject", "ability"),
    [(("direct", "both"), "must-retry"), (("direct", "rsa"), "ecdsa")],
    indirect=["subject"],
    ids=["a retry", "ECDSA"],
)
def test_clients_that_want_what_is_not_there_fail(
    judge: Judge, subject: Subject, ability: str, tmp_path: Path
) -> None:
    verdicts = judge.run(tmp_path, subject.port, group="keyupdate", abilities=(ability,))
    assert verdicts
    for verdict in verdicts:
        assert verdict.status == "FAIL"
        assert "sanity" in verdict.failed
