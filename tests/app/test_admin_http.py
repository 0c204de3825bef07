"""The TCP admin server, by raw requests to a real supervisor."""

from __future__ import annotations

import os
import signal
import socket

from prometheus_client.parser import text_string_to_metric_families

from tests.app.supervised import Make, Supervised, address, until


def exchange(run: Supervised, request: bytes) -> bytes:
    """Send bytes; everything that comes back."""
    where = address(run.admin)
    with socket.create_connection((where.host, where.port), timeout=20) as channel:
        channel.sendall(request)
        parts = []
        while part := channel.recv(65536):
            parts.append(part)
    return b"".join(parts)


def get(run: Supervised, path: str, method: str = "GET") -> tuple[int, bytes]:
    answer = exchange(run, f"{method} {path} HTTP/1.1\r\nHost: admin\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def samples(run: Supervised) -> dict[str, float]:
    """Metrics as `name{label=value}`."""
    status, body = get(run, "/metrics")
    assert status == 200
    return {
        sample.name + "".join(f"{{{key}={value}}}" for key, value in sample.labels.items()): float(
            sample.value
        )
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_metrics_sum_all_processes_and_keep_the_dead(make: Make) -> None:
    run = make(workers=2)
    run.running()
    for _ in range(3):
        pid = run.client()["pid"]
    first = samples(run)
    assert first["vestibule_connections_total{listener=public}"] == 3
    assert first["vestibule_processes{role=front}"] == 1
    assert first["vestibule_processes{role=worker}"] == 2
    assert first["vestibule_process_restarts_total{role=front}"] == 0
    assert first["vestibule_configuration_generation"] == 1
    os.kill(pid, signal.SIGKILL)
    run.wait("process_died")
    run.client()
    for _ in until():
        then = samples(run)
        if then["vestibule_connections_total{listener=public}"] == 4:
            break
    assert then["vestibule_process_restarts_total{role=front}"] == 1


def test_metrics_tell_of_reloads(make: Make) -> None:
    run = make()
    run.running()
    assert samples(run)["vestibule_configuration_last_reload_successful"] == 1
    run.spoil()
    run.signal(signal.SIGHUP)
    run.wait("reload_failed")
    failed = samples(run)
    assert failed["vestibule_configuration_last_reload_successful"] == 0
    assert failed["vestibule_configuration_reloads_total{result=failure}"] == 1
    run.change()
    run.wait("reload_succeeded")
    good = samples(run)
    assert good["vestibule_configuration_last_reload_successful"] == 1
    assert good["vestibule_configuration_reloads_total{result=success}"] == 1
    assert good["vestibule_configuration_generation"] == 2


def test_metrics_do_not_wait_for_a_child_that_is_stuck(make: Make) -> None:
    run = make()
    run.running()
    pid = run.client()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert samples(run)["vestibule_processes{role=front}"] == 1
    finally:
        os.kill(pid, signal.SIGCONT)


def test_ready_while_a_front_and_a_worker_serve(make: Make) -> None:
    run = make()
    run.running()
    assert get(run, "/readyz") == (200, b"ok\n")
    assert get(run, "/healthz") == (200, b"ok\n")
    front = run.client()["pid"]
    os.kill(front, signal.SIGKILL)
    run.wait("process_died")
    unready = []
    for _ in until():
        status, body = get(run, "/readyz")
        if status == 200:
            break
        unready.append((status, body))
    assert set(unready) <= {(503, b"no front is serving\n")}


def test_not_ready_while_starting_and_draining(make: Make) -> None:
    run = make(worker={"linger": True}, drain_s=600.0)
    run.running()
    run.signal(signal.SIGTERM)
    run.wait("draining")
    assert get(run, "/readyz") == (503, b"draining\n")
    assert get(run, "/healthz") == (200, b"ok\n")
    run.signal(signal.SIGTERM)
    assert run.ended() == 0


def test_a_crash_loop_is_sick(make: Make) -> None:
    run = make()
    run.running()
    run.change(worker={"die": "commit"})
    for _ in until():
        status, body = get(run, "/healthz")
        if status != 200:
            break
    assert (status, body) == (503, b"crash-looping: worker 0\n")
    assert get(run, "/readyz") == (503, b"no worker is serving\n")


def test_head_is_get_without_the_body(make: Make) -> None:
    run = make()
    run.running()
    for path in ("/metrics", "/healthz", "/readyz", "/metrics?name=x"):
        assert get(run, path, "HEAD") == (200, b"")


REFUSED = [
    (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
    (b"DELETE /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    (b"POST /reload HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    (b"GET /metrics/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"nonsense\r\n\r\n", 400),
    (b"GET /metrics HTTP/9.9\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
]


def test_everything_else_is_refused(make: Make) -> None:
    run = make()
    run.running()
    for request, status in REFUSED:
        answer = exchange(run, request)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode()), request
        assert b"Connection: close\r\n" in answer
    assert b"Allow: GET, HEAD\r\n" in exchange(run, REFUSED[0][0])
    assert "Traceback" not in run.text


def test_a_client_that_says_nothing_is_closed(make: Make) -> None:
    run = make()
    run.running()
    where = address(run.admin)
    with socket.create_connection((where.host, where.port), timeout=20) as channel:
        channel.sendall(b"GET /metrics HTT")
        # The server's own limit of five seconds ends it, without an answer.
        try:
            assert channel.recv(100) == b""
        except ConnectionResetError:
            return


def test_a_client_that_closes_half_way_harms_nobody(make: Make) -> None:
    run = make()
    run.running()
    where = address(run.admin)
    for _ in range(10):
        with socket.create_connection((where.host, where.port)) as channel:
            channel.sendall(b"GET /met")
    assert get(run, "/healthz")[0] == 200
    assert "Traceback" not in run.text


def test_admin_can_be_off(make: Make) -> None:
    run = make(admin=None)
    assert run.running()["admin"] is None
