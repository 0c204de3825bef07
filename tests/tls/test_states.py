"""Every message in every state has the outcome and the alert that the table says."""

import pytest

from tests.tls.states import ALERTS, MESSAGES, STATES, expected, outcome

PAIRS = [(state, message) for state in STATES for message in MESSAGES]
TABLE = expected()


@pytest.mark.requirement("A33", "A43")
@pytest.mark.parametrize(("state", "message"), PAIRS)
def test_message_in_state(state: str, message: str) -> None:
    cell = TABLE[state, message]
    assert outcome(state, message) == (cell, ALERTS.get(cell))


def test_table_names_every_pair_once() -> None:
    assert list(TABLE) == [(state, message) for message in MESSAGES for state in STATES]
