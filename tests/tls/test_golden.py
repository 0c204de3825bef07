"""Our flights have not changed since their traces were written."""

import pytest

from proxy.wire import CipherSuite, NamedGroup
from tests.tls.golden import DIRECTORY, file_name, trace_file

PAIRS = [(suite, group) for suite in CipherSuite for group in NamedGroup]


@pytest.mark.parametrize(("suite", "group"), PAIRS)
def test_traces_are_reproduced(suite: CipherSuite, group: NamedGroup) -> None:
    stored = (DIRECTORY / file_name(suite, group)).read_text()
    assert trace_file(suite, group) == stored, "intended? then run python -m tests.tls.golden"


def test_no_trace_is_left_over() -> None:
    names = {file_name(suite, group) for suite, group in PAIRS}
    assert {path.name for path in DIRECTORY.iterdir()} == names
