"""The wall clock is stepped by a day, forward and back, while clients are in every state.

Only what is shown to people follows it. What waits, expires or is limited goes by a clock that
nobody sets.
"""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import Authority, Backend
from tests.e2e.deployment import Vestibule, eventually
from tests.e2e.faults.clock import WallClock
from tests.e2e.faults.conftest import Run, come, serving
from tests.e2e.faults.steps import KeepAlive

DAY_S = 24 * 3600
NEAR_S = 600
"""Both clocks agree within that: a busy machine is no day late."""

REPLY_S = 1.5


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """The proxy's."""
    library = WallClock.library()
    if library is None:
        pytest.skip("libfaketime (Debian: faketime) is not installed")
    return WallClock(tmp_path, library)


def logged_at(proxy: Vestibule, event: str) -> float:
    """The wall time that the newest log line of this event bears."""
    eventually(lambda: proxy.events(event))
    return datetime.fromisoformat(proxy.events(event)[-1]["timestamp"]).timestamp()


def reloaded_at(proxy: Vestibule) -> float:
    """Reload; when that was, by the supervisor."""
    name, done = "vestibule_configuration_reloads_total", len(proxy.events("reload_succeeded"))
    proxy.signal(signal.SIGHUP)
    eventually(lambda: proxy.metric(name, result="success") == done + 1)
    return proxy.metric("vestibule_configuration_last_reload_timestamp_seconds")


@pytest.mark.scale
@pytest.mark.parametrize("step", [DAY_S, -DAY_S], ids=["forward", "back"])
def test_nothing_ends_for_a_step_of_the_wall_clock(
    run: Run, authority: Authority, backend: Backend, clock: WallClock, step: int
) -> None:
    # Without TLS behind: a day back, the backend's certificate would rightly not be valid yet.
    proxy = run(
        environment=clock.environment,
        processes={"workers": 1},
        backends={"app": {"servers": [f"http://127.0.0.1:{backend.status_port}"]}},
    )
    with (
        KeepAlive(proxy.port, authority.trusting()) as kept,
        come(proxy) as silent,
        come(proxy) as answered,
        come(proxy) as half_open,
    ):
        kept.ask()
        answered.hello().answer()
        half_open.greet()
        before = proxy.metric("vestibule_handshakes_half_open")
        clock.step(step)
        expected = time.time() + step
        assert reloaded_at(proxy) == pytest.approx(expected, abs=NEAR_S)
        assert proxy.metric("vestibule_handshakes_half_open") == before
        assert silent.greet().reply().status() == 200
        assert answered.flight().reply().status() == 200
        assert half_open.reply().status() == 200
        kept.ask()
    assert proxy.metric("vestibule_reaped_total") == 0
    eventually(lambda: proxy.access_log.count("\n") == 5)
    last = json.loads(proxy.access_log.splitlines()[-1])
    shown = datetime.fromisoformat(last["timestamp"]).timestamp()
    assert shown == pytest.approx(expected, abs=NEAR_S)
    # The front sees that time too: here it has something to say.
    os.kill(proxy.pids("worker")[0], signal.SIGKILL)
    assert logged_at(proxy, "worker_detached") == pytest.approx(expected, abs=NEAR_S)
    serving(proxy, "worker", 1)
    with come(proxy) as later:
        assert later.greet().reply().status() == 200


@pytest.mark.scale
def test_limits_hold_whatever_the_wall_clock_says(run: Run, clock: WallClock) -> None:
    proxy = run(environment=clock.environment, timeouts={"reply_s": REPLY_S})
    with come(proxy) as silent:
        silent.greet()
        began = time.monotonic()
        clock.step(-DAY_S)
        assert silent.is_closed()
        assert REPLY_S - 0.1 <= time.monotonic() - began < NEAR_S
