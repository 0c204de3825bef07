"""Who counts as stuck: round by round, where time is an argument, and with real processes."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.app.watchdog import ROUNDS, Watchdog
from tests.app.supervised import Make, until
from tests.app.test_admin_http import samples

EVERY_S = 5.0

STUCK_S = 1.0
"""Within which even a busy machine gets every child to its loop."""


@dataclass
class Asked:
    """A child that answers as the test says."""

    unanswered: int = 0
    excused: bool = False
    questions: int = 0

    def ask_alive(self) -> None:
        self.unanswered += 1
        self.questions += 1

    def answer(self) -> None:
        self.unanswered = 0


class Rounds:
    """Rounds in time, one after the other."""

    def __init__(self) -> None:
        self.watchdog = Watchdog()
        self.now = 1000.0

    def __call__(self, *children: Asked, after_s: float = EVERY_S) -> list[Asked]:
        self.now += after_s
        return self.watchdog.round(children, EVERY_S, self.now)


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_who_answers_nothing_is_stuck_after_so_many_questions(rounds: Rounds) -> None:
    silent, lively = Asked(), Asked()
    for _ in range(ROUNDS):
        assert rounds(silent, lively) == []
        lively.answer()
    assert rounds(silent, lively) == [silent]
    assert (silent.questions, lively.questions) == (ROUNDS, ROUNDS + 1)


def test_a_late_answer_clears_the_account(rounds: Rounds) -> None:
    busy = Asked()
    for _ in range(5):
        for _ in range(ROUNDS):
            assert rounds(busy) == []
        busy.answer()


def test_who_is_excused_begins_anew_afterwards(rounds: Rounds) -> None:
    loading = Asked()
    rounds(loading)
    rounds(loading)
    loading.excused = True
    for _ in range(10 * ROUNDS):
        assert rounds(loading) == []
    loading.excused = False
    # The question of the last excused round counts: it was asked, and time has passed since.
    for _ in range(ROUNDS - 1):
        assert rounds(loading) == []
    assert rounds(loading) == [loading]


def test_a_supervisor_that_stood_still_blames_nobody(rounds: Rounds) -> None:
    child = Asked()
    for _ in range(ROUNDS):
        rounds(child)
    # The next round would be the verdict, but comes an hour late: so may the child's answer.
    assert rounds(child, after_s=3600.0) == []
    for _ in range(ROUNDS - 1):
        assert rounds(child) == []
    assert rounds(child) == [child]


def test_a_round_that_is_a_little_late_still_counts(rounds: Rounds) -> None:
    child = Asked()
    for _ in range(ROUNDS):
        assert rounds(child, after_s=1.5 * EVERY_S) == []
    assert rounds(child, after_s=1.5 * EVERY_S) == [child]


@pytest.mark.parametrize("role", ["front", "worker"])
def test_a_stopped_child_is_killed_and_replaced(make: Make, role: str) -> None:
    run = make(stuck_s=STUCK_S)
    run.running()
    first = run.wait("process_started", child=f"{role} 0")["pid"]
    os.kill(first, signal.SIGSTOP)
    assert run.wait("process_stuck", child=f"{role} 0")["pid"] == first
    assert run.wait("process_died", child=f"{role} 0")["status"] == -signal.SIGKILL
    assert run.wait("process_started", child=f"{role} 0")["pid"] != first
    for _ in until():
        if run.client()["workers"]:
            break
    numbers = samples(run)
    assert numbers[f"vestibule_process_kills_total{{reason=stuck}}{{role={role}}}"] == 1
    assert numbers[f"vestibule_process_restarts_total{{role={role}}}"] == 1


def test_a_child_in_an_endless_loop_is_killed_and_replaced(make: Make) -> None:
    run = make(stuck_s=STUCK_S, front={"spin": True})
    run.running()
    first = run.client()["pid"]
    assert run.wait("process_stuck", child="front 0")["pid"] == first
    assert run.client()["pid"] != first


def test_a_child_that_loads_a_configuration_is_not_stuck(make: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = make(stuck_s=STUCK_S)
    run.running()
    worker = run.wait("process_started", child="worker 0")["pid"]
    run.change(front={"gate": str(gate)})
    for _ in until():
        if Path(f"{gate}.reached").exists():
            break
    # By when the worker's time is up, the front's would have been too.
    os.kill(worker, signal.SIGSTOP)
    run.wait("process_stuck", child="worker 0")
    gate.touch()
    run.wait("reload_succeeded")
    assert not [line for line in run.log if line["event"] == "process_died" if "front" in str(line)]


def test_a_supervisor_that_was_stopped_gives_everybody_a_fresh_chance(make: Make) -> None:
    run = make(workers=2, stuck_s=STUCK_S)
    run.running()
    first = run.wait("process_started", child="worker 0")["pid"]
    second = run.wait("process_started", child="worker 1")["pid"]
    run.signal(signal.SIGSTOP)
    os.kill(first, signal.SIGSTOP)
    threading.Event().wait(2 * STUCK_S)  # time itself is the subject
    run.signal(signal.SIGCONT)
    assert run.client()["slot"] == 0
    os.kill(first, signal.SIGCONT)
    # The same rounds that convict this one acquit the other.
    os.kill(second, signal.SIGSTOP)
    run.wait("process_stuck", child="worker 1")
    run.wait("process_died", child="worker 1")
    assert [line["child"] for line in run.log if line["event"] == "process_died"] == ["worker 1"]
