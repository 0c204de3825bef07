"""One child process and its handle."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from proxy.app.children import Child, child_environment
from proxy.app.failures import ChildGone, Refusal
from proxy.config import SystemUser
from tests.app.supervised import STAND_IN, gone

IDLE = ("/bin/sh", "-c", "exec sleep 600")


async def test_its_life() -> None:
    child = Child("worker", 3, 7, STAND_IN)
    assert (child.name, child.running, child.generation) == ("worker 3", True, 0)
    await child.started()
    await child.started()  # still
    await child.prepare(1, b"{}", ())
    await child.commit(1)
    assert child.generation == 1
    assert (await child.query("status", 5.0))["connections"] == 0
    await child.leave(5.0)
    assert child.exited.result() == 0
    assert not child.running
    # Its last numbers came with its farewell.
    assert child.metrics == {"vestibule_connections_total": [[["public"], 0]]}


async def test_a_question_to_one_that_dies_is_answered_by_its_end() -> None:
    child = Child("worker", 0, 1, STAND_IN)
    await child.started()
    os.kill(child.pid, signal.SIGSTOP)
    asking = [
        asyncio.ensure_future(child.prepare(1, b"{}", ())),
        asyncio.ensure_future(child.query("status", 60.0)),
    ]
    await asyncio.sleep(0)
    child.kill()
    for result in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(result, ChildGone)
    assert await child.exited == -signal.SIGKILL
    with pytest.raises(ChildGone):
        await child.query("status", 60.0)
    child.kill()  # harmless


async def test_one_that_does_not_answer_costs_its_limit() -> None:
    child = Child("worker", 0, 1, STAND_IN)
    await child.started()
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(Refusal, match=r"worker 0 does not answer within 0\.1 s"):
        await child.query("status", 0.1)
    os.kill(child.pid, signal.SIGCONT)
    # A late answer is nobody's, and does no harm.
    assert (await child.query("metrics", 5.0)) != {}
    child.kill()
    await child.exited


async def test_who_has_to_answer_whether_it_lives(tmp_path: Path) -> None:
    child = Child("worker", 0, 1, STAND_IN)
    seen = [child.excused]  # it starts
    await child.started()
    seen.append(child.excused)
    gate = tmp_path / "gate"
    preparing = asyncio.ensure_future(
        child.prepare(1, json.dumps({"gate": str(gate)}).encode(), ())
    )
    await asyncio.sleep(0)
    seen.append(child.excused)
    gate.touch()
    await preparing
    seen.append(child.excused)
    assert seen == [True, False, True, False]
    child.ask_alive()
    child.ask_alive()
    assert child.unanswered == 2
    await child.query("status", 5.0)  # it answers in order
    assert child.unanswered == 0
    child.kill("stuck")
    child.kill("refused")
    assert child.killed_for == "stuck"
    await child.exited
    assert child.excused


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """A directory that is ours alone, with an interpreter in it."""
    (tmp_path / "python").symlink_to("/bin/sh")
    tmp_path.chmod(0o700)
    return tmp_path


def facts(pid: int) -> dict[str, list[str]]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_one_that_is_another_user_is_nothing_more() -> None:
    user = SystemUser(name="some", uid=4711, gid=4712)
    child = Child("front", 0, 1, IDLE, user)
    try:
        # It has been executed: Child returns, or raises, after that.
        found = facts(child.pid)
        assert found["Name"][0] in ("sh", "sleep")
        assert found["Uid"] == ["4711"] * 4  # real, effective, saved, of the file system
        assert found["Gid"] == ["4712"] * 4
        assert found["Groups"] == []
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(found[kind][0], 16) == 0
    finally:
        child.kill()
        await child.exited


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_one_whose_user_cannot_execute_us(hidden: Path) -> None:
    program = hidden / "python"
    user = SystemUser(name="some", uid=4711, gid=4712)
    with pytest.raises(PermissionError, match=f"Permission denied: {program}, as some"):
        Child("front", 0, 1, (str(program),), user)


async def test_one_without_a_user_of_its_own_is_who_we_are() -> None:
    child = Child("front", 0, 1, IDLE)
    try:
        ours, found = facts(os.getpid()), facts(child.pid)
        for name in ("Uid", "Gid", "Groups"):
            assert found[name] == ours[name]
    finally:
        child.kill()
        await child.exited


async def test_one_that_cannot_start() -> None:
    child = Child("worker", 0, 1, (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(ChildGone):
        await child.started()
    assert await child.exited == 3


async def test_one_that_breaks_its_channel_is_not_left_running(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.app.children._EXIT_GRACE_S", 0.05)
    code = "import os, sys, time; os.write(int(sys.argv[-1]), b'nonsense'); time.sleep(600)"
    child = Child("worker", 0, 1, (sys.executable, "-c", code))
    with pytest.raises(ChildGone):
        await child.started()
    assert await child.exited == -signal.SIGKILL
    gone(child.pid)


def test_a_child_gets_what_it_needs_of_the_environment() -> None:
    environment = child_environment(
        {
            "PATH": "/bin",
            "LC_ALL": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SSL_CERT_FILE": "/ca.pem",
            "SSLKEYLOGFILE": "/tmp/keys",
            "DATABASE_PASSWORD": "hush",
            "NOTIFY_SOCKET": "/run/notify",
        }
    )
    environment.pop("PYTHONPATH", None)  # there where the package is not installed
    assert environment == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SSL_CERT_FILE": "/ca.pem",
    }
