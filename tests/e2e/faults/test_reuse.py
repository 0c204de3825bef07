"""A client that resets its connection and comes again from the same port, so that the new
connection has the same 5-tuple, before anybody has noticed that the old one is gone.
"""

from __future__ import annotations

import os
import signal

import pytest

from tests.e2e.deployment import eventually
from tests.e2e.faults.conftest import Run, come, offers_made


@pytest.mark.requirement("A7", "A43")
def test_the_new_one_is_not_taken_for_the_old_one(run: Run) -> None:
    proxy = run(processes={"workers": 1})
    (front,), (worker,) = proxy.pids("front"), proxy.pids("worker")
    old = come(proxy)
    old.greet()
    port = old.socket.getsockname()[1]
    before = offers_made(proxy)
    for pid in (front, worker):
        os.kill(pid, signal.SIGSTOP)
    old.reset()
    with come(proxy, source_port=port) as new:
        new.hello()
        # Whoever held the old one's half-open handshake, front or worker, goes on with both there.
        os.kill(front, signal.SIGCONT)
        new.answer()
        if new.keyless:
            new.again()
        else:
            new.flight().reply()
        eventually(lambda: offers_made(proxy) == before + 1)
        os.kill(worker, signal.SIGCONT)
        assert new.once_accepted() == 200
    assert proxy.metric("vestibule_handshake_failures_total", reason="unexpected_message") == 0


def test_the_old_one_is_on_offer_when_the_new_one_comes(run: Run) -> None:
    proxy = run(processes={"workers": 1})
    (worker,) = proxy.pids("worker")
    os.kill(worker, signal.SIGSTOP)
    old = come(proxy)
    old.until_offered()
    eventually(lambda: offers_made(proxy) == 1)
    port = old.socket.getsockname()[1]
    old.reset()
    with come(proxy, source_port=port) as new:
        new.until_offered()
        eventually(lambda: offers_made(proxy) == 2)
        os.kill(worker, signal.SIGCONT)
        assert new.once_accepted() == 200
