"""Reloads, as signals and as the admin socket's command, over real processes."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from proxy.app.admin_socket import ask
from tests.app.supervised import Make, ask_front, gone, until


@pytest.mark.requirement("A23")
def test_a_reload_changes_every_process_and_keeps_them(make: Make) -> None:
    run = make(fronts=1, workers=2, front={"greeting": "old"})
    run.running()
    before = run.pids()
    assert run.client()["greeting"] == "old"
    run.change(front={"greeting": "new"})
    assert run.wait("reload_succeeded")["generation"] == 2
    facts = run.client()
    assert (facts["greeting"], facts["generation"]) == ("new", 2)
    assert run.pids() == before


def test_a_bad_file_keeps_the_old_configuration(make: Make) -> None:
    run = make(front={"greeting": "old"})
    run.running()
    run.spoil()
    run.signal(signal.SIGHUP)
    assert "wishes.json:1:1:" in run.wait("reload_failed")["error"]
    facts = run.client()
    assert (facts["greeting"], facts["generation"]) == ("old", 1)
    run.change(front={"greeting": "new"})
    run.wait("reload_succeeded")
    assert run.client()["greeting"] == "new"


@pytest.mark.parametrize("role", ["worker", "front"])
def test_one_refusal_abandons_the_generation_everywhere(make: Make, role: str) -> None:
    run = make(workers=2, front={"greeting": "old"})
    run.running()
    front = {"greeting": "new"}
    refused = {role: {**front, "refuse": "cannot"} if role == "front" else {"refuse": "cannot"}}
    run.change(**{"front": front, **refused})
    assert run.wait("reload_failed")["error"] == f"{role} 0: cannot"
    for _ in until():
        facts = run.client()
        assert (facts["greeting"], facts["generation"]) == ("old", 1)
        if facts["abandoned"] == [2]:
            break
    # Its number is spent: a late answer to it can never be taken for one to a later attempt.
    run.change(front=front, worker={})
    assert run.wait("reload_succeeded")["generation"] == 3


def test_a_generation_that_kills_a_process_is_refused(make: Make) -> None:
    run = make(front={"greeting": "old"})
    run.running()
    run.change(worker={"die": "prepare"})
    assert run.wait("reload_failed")["error"] == "worker 0 exited before it answered"
    run.wait("process_died", child="worker 0")
    for _ in until():
        facts = run.client()
        assert facts["generation"] == 1
        if facts["workers"]:
            break


def test_a_process_that_cannot_commit_is_replaced_with_the_new_generation(make: Make) -> None:
    run = make(front={"greeting": "old"})
    run.running()
    old = run.client()
    # Dies at each commit, so it crash-loops until the next reload: that is what health reports.
    run.change(front={"greeting": "new", "die": "commit"})
    run.wait("process_died", child="front 0", status=1)
    run.wait("reload_succeeded")
    run.change(front={"greeting": "good"})
    for _ in until():
        facts = run.client()
        if facts["greeting"] == "good":
            break
    assert facts["pid"] != old["pid"]


def test_addresses_come_and_go(make: Make) -> None:
    run = make(bind=["127.0.0.1:0"])
    run.running()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    first = run.listeners[0]
    run.change(bind=["127.0.0.1:0", f"127.0.0.1:{port}"])
    run.wait("reload_succeeded")
    assert ask_front(first)["pid"] == ask_front(f"127.0.0.1:{port}")["pid"]
    run.change(bind=[f"127.0.0.1:{port}"])
    run.wait("reload_succeeded")
    assert ask_front(f"127.0.0.1:{port}")["generation"] == 3
    for _ in until():
        try:
            ask_front(first)
        except OSError:
            break


def test_a_taken_address_refuses_the_reload(make: Make) -> None:
    run = make()
    run.running()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        run.change(bind=["127.0.0.1:0", bind])
        error = run.wait("reload_failed")["error"]
    assert error == f"cannot listen on {bind}: Address already in use"
    assert run.client()["generation"] == 1


def test_a_taken_admin_address_refuses_the_reload_and_frees_what_it_bound(make: Make) -> None:
    run = make()
    run.running()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        socket.create_server(("127.0.0.1", 0)) as probe,
    ):
        admin = f"127.0.0.1:{taken.getsockname()[1]}"
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        run.change(bind=["127.0.0.1:0", bind], admin=admin)
        error = run.wait("reload_failed")["error"]
    assert error == f"cannot listen on {admin} (admin): Address already in use"
    with pytest.raises(ConnectionRefusedError):
        ask_front(bind)


def test_more_and_fewer_workers(make: Make) -> None:
    run = make(workers=1)
    run.running()
    run.change(workers=3)
    run.wait("reload_succeeded")
    for _ in until():
        workers = dict(run.client()["workers"])
        if len(workers) == 3:
            break
    run.change(workers=1)
    for _ in range(2):
        assert run.wait("process_left")["status"] == 0
    gone(workers[1])
    gone(workers[2])
    for _ in until():
        if list(dict(run.client()["workers"])) == [0]:
            break


def test_more_and_fewer_fronts(make: Make) -> None:
    run = make(fronts=1)
    run.running()
    run.change(fronts=2)
    run.wait("reload_succeeded")
    slots: set[int] = set()
    for _ in until():
        slots.add(run.client()["slot"])
        if slots == {0, 1}:
            break
    run.change(fronts=1)
    assert run.wait("process_left")["child"] == "front 1"
    for _ in range(20):
        assert run.client()["slot"] == 0


def test_a_successor_that_comes_up_during_a_reload_catches_up(make: Make, tmp_path: Path) -> None:
    run = make(workers=2, socket=str(tmp_path / "admin.sock"))
    run.running()
    for _ in until():
        before = dict(run.client()["workers"])
        if len(before) == 2:
            break
    gate = tmp_path / "gate"
    os.kill(before[1], signal.SIGKILL)
    run.wait("process_died", child="worker 1")
    run.change(worker={"gate": str(gate)})  # worker 0 prepares until the gate is there
    for _ in until():
        after = dict(run.client()["workers"])
        if len(after) == 2 and after[1] != before[1]:
            break
    assert run.client()["generation"] == 1
    gate.touch()
    run.wait("reload_succeeded")
    for _ in until():
        processes = ask(tmp_path / "admin.sock", "status")["status"]["processes"]
        if [one["generation"] for one in processes] == [2, 2, 2]:
            break


def test_reloads_queue(make: Make) -> None:
    run = make(front={"greeting": "1"})
    run.running()
    for number in range(2, 6):
        run.change(front={"greeting": str(number)})
    for _ in until():
        if run.client()["greeting"] == "5":
            break


def test_a_reload_does_not_outlast_the_end(make: Make) -> None:
    run = make(drain_s=0.2)
    run.running()
    run.change(worker={"silent": True})
    run.signal(signal.SIGTERM)
    assert run.ended() == 0


def test_a_unix_listener_is_removed_with_its_file(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "public.sock"
    run = make(bind=["127.0.0.1:0"])
    run.running()
    run.change(bind=["127.0.0.1:0", f"unix:{path}"])
    run.wait("reload_succeeded")
    assert ask_front(f"unix:{path}")["generation"] == 2
    run.change(bind=["127.0.0.1:0"])
    run.wait("reload_succeeded")
    assert not path.exists()
