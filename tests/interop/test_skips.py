"""`skips.yaml` is read strictly, and none of its lines outlives its reason."""

from __future__ import annotations

import pytest

from tests.interop.judge import Verdict
from tests.interop.skips import ANSWERS, CERTIFICATES, Skip, load, problems

_SKIP = Skip(rfc="RFC 8446, Section 9.1", reason="optional", scripts={"curves": [".*x448.*"]})


def _verdict(
    *, passed: tuple[str, ...] = (), failed: tuple[str, ...] = (), status: str = ""
) -> Verdict:
    status = status or ("FAIL" if failed else "PASS")
    counts = (len(passed), len(passed) + len(failed))
    return Verdict("curves", status, frozenset(passed), frozenset(failed), counts)


def _told(verdict: Verdict, *skips: Skip, answer: str = "direct", kind: str = "rsa") -> list[str]:
    return problems([verdict], skips, answer=answer, certificates=kind)


def test_what_passes_is_no_problem() -> None:
    assert _told(_verdict(passed=("sanity", "x25519"))) == []


def test_what_fails_is_told_with_its_script() -> None:
    assert _told(_verdict(passed=("sanity",), failed=("x25519",))) == ["curves: failed: x25519"]


def test_a_skip_takes_whole_names_of_its_own_script_only() -> None:
    failing = _verdict(passed=("sanity",), failed=("an x448 share",))
    assert _told(failing, _SKIP) == []
    part = Skip(rfc="RFC", reason="reason", scripts={"curves": ["x448"]})
    assert "curves: failed: an x448 share" in _told(failing, part)
    other = Skip(rfc="RFC", reason="reason", scripts={"hellos": [".*"]})
    assert _told(failing, other) == ["curves: failed: an x448 share"]


def test_a_skip_that_passes_again_is_told() -> None:
    verdict = _verdict(passed=("x448 small",), failed=("x448 large",))
    assert _told(verdict, _SKIP) == ["curves: passes, but is skipped: x448 small"]


def test_a_skip_that_nothing_fails_is_told() -> None:
    # Some scripts do not name what passes, so this is not the same as the one before.
    told = _told(_verdict(passed=("sanity",)), _SKIP)
    assert told == ["curves: skipped, but nothing fails: .*x448.*"]


def test_a_skip_holds_only_where_it_says() -> None:
    narrow = Skip(
        rfc="RFC",
        reason="reason",
        scripts={"curves": [".*"]},
        answers=["retry"],
        certificates=["ecdsa"],
    )
    failing = _verdict(failed=("sanity",))
    assert _told(failing, narrow, answer="retry", kind="ecdsa") == []
    for answer, kind in (("direct", "ecdsa"), ("retry", "rsa")):
        assert _told(failing, narrow, answer=answer, kind=kind) == ["curves: failed: sanity"]


def test_a_skip_that_holds_at_times_may_pass_and_may_fail() -> None:
    at_times = Skip(rfc="RFC", reason="reason", scripts={"curves": [".*x448.*"]}, strict=False)
    for verdict in (_verdict(passed=("x448",)), _verdict(failed=("x448",)), _verdict()):
        assert _told(verdict, at_times) == []
    assert _told(_verdict(failed=("sanity",)), at_times) == ["curves: failed: sanity"]
    assert _told(_verdict(passed=("x448",)), at_times, _SKIP)


@pytest.mark.parametrize("status", ["CRASH", "TIMEOUT", "DOWN"])
def test_a_script_without_a_list_cannot_be_skipped(status: str) -> None:
    everything = Skip(rfc="RFC", reason="reason", scripts={"curves": [".*"]})
    (told,) = _told(_verdict(failed=("sanity",), status=status), everything)
    assert told.startswith(f"curves: {status}")


def test_a_failure_without_names_is_told() -> None:
    (told,) = _told(_verdict(passed=("sanity",), status="FAIL"), _SKIP)
    assert told.startswith("curves: FAIL")


_LINE = "{rfc: RFC 8446, reason: optional, scripts: {curves: [sanity]}"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (f"{_LINE}, because: never}}", "because"),
        (f"{_LINE}, answers: [slow]}}", "slow"),
        (f"{_LINE}, certificates: []}}", r"\[\]"),
        ("{rfc: '', reason: optional, scripts: {curves: [sanity]}}", "incomplete"),
        ("{rfc: RFC 8446, reason: ' ', scripts: {curves: [sanity]}}", "incomplete"),
        ("{rfc: RFC 8446, reason: optional, scripts: {}}", "incomplete"),
    ],
)
def test_what_is_no_skip_is_refused(line: str, wrong: str) -> None:
    assert load(f"section:\n  - {_LINE}}}")[0].scripts == {"curves": ["sanity"]}
    with pytest.raises(ValueError, match=wrong):
        load(f"section:\n  - {line}")


def test_the_file_gives_a_document_and_a_section_for_each_line() -> None:
    skips = load()
    assert skips
    for skip in skips:
        assert "RFC" in skip.rfc
        assert "Section" in skip.rfc or "Appendix" in skip.rfc
        assert set(skip.answers) <= set(ANSWERS)
        assert set(skip.certificates) <= set(CERTIFICATES)
