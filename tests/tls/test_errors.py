"""Every reason has its alert, and labels are fit for a metric."""

import re

import pytest

from proxy.tls import PeerAborted, PeerIncompatible, PeerMisbehaved, Reason, TlsError
from proxy.tls.errors import _ALERTS
from proxy.wire import AlertDescription
from tests.tls.states import ALERTS


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_an_alert(reason: Reason) -> None:
    assert re.fullmatch(r"[a-z][a-z_]+", reason.value)
    error = PeerMisbehaved(reason)
    assert error.reason == reason.value == str(error)
    assert error.alert == _ALERTS[reason]
    assert (error.alert is None) == (reason is Reason.PEER_ALERT)


def test_reasons_agree_with_the_state_table() -> None:
    for reason, alert in ALERTS.items():
        if reason in set(Reason):
            assert PeerMisbehaved(Reason(reason)).alert == alert


def test_whose_fault_it_is() -> None:
    assert issubclass(PeerIncompatible, TlsError)
    assert not issubclass(PeerIncompatible, PeerMisbehaved)
    error = PeerAborted(AlertDescription.HANDSHAKE_FAILURE)
    assert (error.reason, error.alert, error.description) == ("peer_alert", None, 40)
