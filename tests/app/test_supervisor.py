"""The supervisor's promises, with real processes, signals and sockets."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.app.supervised import Make, address, ask_front, gone, until


def test_every_front_reaches_every_worker(make: Make) -> None:
    run = make(fronts=2, workers=3, front={"greeting": "hello"})
    run.running()
    seen: dict[int, list[list[int]]] = {}
    for _ in until():
        facts = run.client()
        assert facts["greeting"] == "hello"
        seen[facts["slot"]] = facts["workers"]
        if len(seen) == 2 and all(len(workers) == 3 for workers in seen.values()):
            break
    assert [slot for slot, _ in seen[0]] == [slot for slot, _ in seen[1]] == [0, 1, 2]


def test_a_child_inherits_its_control_socket_and_nothing_else(make: Make) -> None:
    # By then the supervisor holds listeners, pidfds, an admin server, other children's sockets.
    run = make(fronts=2, workers=2)
    run.running()
    os.kill(run.client()["pid"], signal.SIGKILL)
    run.wait("process_died")
    inherited = dict(item.split("=", 1) for item in run.client()["inherited"])
    kinds = {number: what.partition(":")[0] for number, what in inherited.items()}
    assert [kinds.pop(number) for number in ("0", "1", "2")] == ["/dev/null", "pipe", "pipe"]
    assert list(kinds.values()) == ["socket"]


def test_secrets_of_the_environment_stay_with_the_supervisor(make: Make) -> None:
    run = make()
    run.running()
    environment = run.client()["environment"]
    assert "PATH" in environment
    assert "VESTIBULE_TEST_SECRET" not in environment


def test_a_snapshot_shows_in_no_command_line(make: Make) -> None:
    run = make(front={"key": "very-secret"}, worker={"key": "very-secret"})
    run.running()
    for pid in run.pids():
        assert b"very-secret" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert "very-secret" not in run.text


def test_a_killed_worker_is_replaced_and_attached_again(make: Make) -> None:
    run = make(workers=2)
    run.running()
    for _ in until():
        before = dict(run.client()["workers"])
        if len(before) == 2:
            break
    os.kill(before[1], signal.SIGKILL)
    died = run.wait("process_died", child="worker 1")
    assert died["status"] == -signal.SIGKILL
    for _ in until():
        after = dict(run.client()["workers"])
        if len(after) == 2 and after[1] != before[1]:
            break
    assert after[0] == before[0]


def test_a_front_that_lost_the_channel_to_a_living_worker_gets_another(make: Make) -> None:
    run = make(workers=2, front={"cut": True})
    run.running()
    before = run.pids()
    for _ in until():
        facts = run.client()
        if len(facts["workers"]) == 2:
            break
    first, second = facts["attached"][:2]
    assert sorted(facts["attached"]) == sorted([first, second] * 2)
    assert run.pids() == before


def test_a_killed_front_gets_a_successor_on_the_same_socket(make: Make) -> None:
    run = make()
    run.running()
    first = run.client()
    os.kill(first["pid"], signal.SIGKILL)
    run.wait("process_died", child="front 0")
    # The kernel queues this connection on the supervisor's socket until the successor accepts.
    second = run.client()
    assert second["pid"] != first["pid"]
    for _ in until():
        if run.client()["workers"] == first["workers"] != []:
            break


def test_no_zombie_is_left(make: Make) -> None:
    run = make()
    run.running()
    worker = run.client()["workers"]
    for _ in until():
        worker = run.client()["workers"]
        if worker:
            break
    os.kill(worker[0][1], signal.SIGKILL)
    run.wait("process_died")
    assert not Path(f"/proc/{worker[0][1]}").exists()
    for _ in until():
        if len(run.pids()) == 2:
            break


def test_sigterm_drains_fronts_before_workers(make: Make) -> None:
    run = make(fronts=2, workers=2)
    run.running()
    run.signal(signal.SIGTERM)
    assert run.ended() == 0
    left = [line["child"] for line in run.log if line["event"] == "process_left"]
    assert sorted(left[:2]) == ["front 0", "front 1"]
    assert sorted(left[2:]) == ["worker 0", "worker 1"]
    assert all(line["status"] == 0 for line in run.log if line["event"] == "process_left")


def test_draining_refuses_new_clients_while_old_ones_finish(make: Make) -> None:
    run = make(worker={"linger": True}, drain_s=600.0)
    run.running()
    run.signal(signal.SIGINT)
    run.wait("process_left", child="front 0")
    with pytest.raises(ConnectionRefusedError):
        run.client()
    assert run.process.poll() is None
    run.signal(signal.SIGINT)  # waiting is over: at once
    assert run.ended() == 0


def test_a_child_that_does_not_leave_in_time_is_killed(make: Make) -> None:
    run = make(worker={"linger": True}, drain_s=0.2)
    run.running()
    pids = run.pids()
    run.signal(signal.SIGTERM)
    assert run.ended() == 0
    for pid in pids:
        gone(pid)


def test_children_leave_when_the_supervisor_is_killed(make: Make) -> None:
    run = make(fronts=2, workers=2)
    run.running()
    pids = run.pids()
    assert len(pids) == 4
    run.signal(signal.SIGKILL)
    run.process.wait()
    for pid in pids:
        gone(pid)
    with pytest.raises(ConnectionRefusedError):
        run.client()


def test_a_terminals_interrupt_reaches_the_supervisor_alone(make: Make) -> None:
    run = make()
    run.running()
    before = run.pids()
    for pid in before:
        assert os.getpgid(pid) == pid
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            os.kill(pid, number)
    run.signal(signal.SIGUSR1)
    for _ in until():
        if run.client()["reopened"] == 1:
            break
    assert run.pids() == before


def test_a_child_that_gets_sigterm_drains_and_is_replaced(make: Make) -> None:
    run = make()
    run.running()
    first = run.client()
    os.kill(first["pid"], signal.SIGTERM)
    assert run.wait("process_left", child="front 0")["status"] == 0
    assert run.client()["pid"] != first["pid"]


def test_sigusr1_reopens_logs_in_every_child(make: Make) -> None:
    run = make()
    run.running()
    run.signal(signal.SIGUSR1)
    run.wait("logs_reopened")
    for _ in until():
        if run.client()["reopened"] == 1:
            break


def test_a_refused_first_generation_ends_the_start(make: Make) -> None:
    run = make(worker={"refuse": "no such backend"})
    assert run.wait("failed")["error"] == "worker 0: no such backend"
    assert run.ended() == 1


def test_a_child_that_dies_at_start_ends_the_start(make: Make) -> None:
    run = make(front={"die": "prepare"})
    assert run.wait("failed")["error"] == "front 0 exited before it answered"
    assert run.ended() == 1


def test_a_taken_address_ends_the_start(make: Make, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        run = make(bind=[f"127.0.0.1:{port}"])
        error = run.wait("failed")["error"]
    assert error == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    assert run.ended() == 1


def test_being_told_to_stop_while_starting(make: Make) -> None:
    run = make(worker={"silent": True})
    run.wait("process_started")
    run.signal(signal.SIGTERM)
    assert run.ended() == 0


def test_crash_loops_back_off(make: Make) -> None:
    run = make()
    run.running()
    run.wait("process_started", child="worker 0")
    waits: list[float] = []
    for _ in range(3):
        for _ in until():
            if workers := run.client()["workers"]:
                break
        os.kill(workers[0][1], signal.SIGKILL)
        died = run.wait("process_died", child="worker 0")
        started = run.wait("process_started", child="worker 0")
        waits.append(started["at_s"] - died["at_s"])
    # At once, then half a second, then one: a timer may be late, but it is never early.
    assert waits[0] < 0.4
    assert waits[1] >= 0.4
    assert waits[2] >= 0.9


@pytest.mark.parametrize("bind", ["[::1]:0", "127.0.0.1:0"])
def test_listeners_of_both_families(make: Make, bind: str) -> None:
    run = make(bind=[bind])
    run.running()
    assert run.client()["bind"] == bind


def test_an_ipv6_listener_is_for_ipv6_unless_dual_stack(make: Make) -> None:
    run = make(bind=["[::]:0"])
    run.running()
    port = address(run.listeners[0]).port
    assert ask_front(f"[::1]:{port}")["slot"] == 0
    with pytest.raises(ConnectionRefusedError):
        ask_front(f"127.0.0.1:{port}")


def test_a_dual_stack_listener_takes_both(make: Make) -> None:
    run = make(bind=["[::]:0"], dual_stack=True)
    run.running()
    port = address(run.listeners[0]).port
    assert ask_front(f"[::1]:{port}")["slot"] == ask_front(f"127.0.0.1:{port}")["slot"] == 0


def test_a_unix_listener_is_shared_by_all_fronts(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    run = make(bind=[f"unix:{path}"], fronts=2)
    run.running()
    assert path.stat().st_mode & 0o777 == 0o660
    slots: set[int] = set()
    for _ in until():
        slots.add(run.client()["slot"])
        if len(slots) == 2:
            break
    run.signal(signal.SIGTERM)
    assert run.ended() == 0
    assert not path.exists()
