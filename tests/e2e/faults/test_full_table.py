"""A full handshake table: a retry, which costs no slot, and a refusal where that was not enough."""

from __future__ import annotations

import contextlib

from proxy.wire import AlertDescription, ContentType
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.faults.conftest import Run, come

LIMIT = 5
FAILURES = "vestibule_handshake_failures_total"


def refused(proxy: Vestibule) -> float:
    """Clients that a full table has refused: the front's, or those of all workers it asked."""
    return proxy.metric(FAILURES, reason="table_full") + proxy.metric(
        "vestibule_handoffs_total", result="overloaded"
    )


def test_it_retries_and_then_refuses(run: Run) -> None:
    # One worker: under retry the table is each worker's.
    proxy = run(processes={"workers": 1}, limits={"half_open": LIMIT})
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(come(proxy)).greet() for _ in range(LIMIT)]
        early, late = (stack.enter_context(come(proxy)) for _ in range(2))
        for client in (early, late):
            client.hello().answer()
            assert client.retried  # its state is its own
        early.again()
        alert = early.record()
        assert (alert[0], alert[6]) == (ContentType.ALERT, AlertDescription.INTERNAL_ERROR)
        assert early.is_closed()
        eventually(lambda: refused(proxy) == 1)
        # A slot that becomes free is the next one's.
        holders.pop().close()
        eventually(lambda: proxy.metric(FAILURES, reason="peer_closed") == 1)
        assert late.flight().reply().status() == 200
        assert [one.reply().status() for one in holders] == [200] * (LIMIT - 1)
    with come(proxy) as later:
        assert later.greet().reply().status() == 200
