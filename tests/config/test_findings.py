"""Findings come out in the file's order, problems before all else."""

from __future__ import annotations

import pytest

from proxy.config.document import parse
from proxy.config.errors import ConfigError, Unfit
from proxy.config.findings import Findings

TEXT = b"a: 1\nb: {c: 2}\nb: 3\n"


def test_problems_are_sorted_and_those_of_the_yaml_are_among_them() -> None:
    findings = Findings(parse(TEXT, "f"))
    findings.problem(("d",), "nothing", at_key=True)
    findings.unfit(("b", "c"), Unfit("text", "quote it"), "2")
    findings.problem(("a",), "text", "1")
    findings.caution(("b", "c"), "odd")
    with pytest.raises(ConfigError) as caught:
        findings.close()
    assert str(caught.value).splitlines() == [
        "f:1:1: d: expected nothing",
        "f:1:4: a: expected text, found 1",
        "f:2:8: b.c: expected text, found 2; quote it",
        'f:3:1: b: expected each key once, found "b" again (first on line 2)',
    ]
    assert [str(caution) for caution in caught.value.cautions] == ["f:2:8: b.c: odd"]


def test_cautions_alone_are_returned_in_order() -> None:
    findings = Findings(parse(b"a: 1\nb: 2", "f"))
    findings.caution(("b",), "second")
    findings.caution(("a",), "first", at_key=True)
    assert [str(caution) for caution in findings.close()] == ["f:1:1: a: first", "f:2:4: b: second"]


def test_what_an_unfit_value_was_can_be_told_better_by_the_error() -> None:
    findings = Findings(parse(b"a: 1", "f"))
    findings.unfit(("a",), Unfit("a file", found='"/x": gone'), '"x"')
    assert str(findings.error()) == 'f:1:4: a: expected a file, found "/x": gone'
