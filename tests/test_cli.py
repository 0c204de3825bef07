"""The command line as transcripts: what is typed, what comes out, and the exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from proxy import __version__
from tests.certs import ThrowAwayCa
from tests.conftest import IS_COMPILED
from tests.peers import free_port

COMMANDS = ["run", "check", "schema", "status", "reload", "demo", "bench"]


def vestibule(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Type `vestibule ARGUMENTS`."""
    return subprocess.run(
        [sys.executable, "-m", "proxy", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "100"},
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that can be served."""
    later = datetime.now(UTC) + timedelta(days=90)
    ThrowAwayCa().issue(["localhost"], not_after=later).write(tmp_path)
    path = tmp_path / "vestibule.yaml"
    path.write_text(
        f"""\
listeners:
  - name: public
    bind: ["127.0.0.1:{free_port()}"]
    server_names:
      - default: true
        certificates: [{{cert_file: server.pem, key_file: server.key}}]
        routes: [{{backend: app}}]
backends:
  app: {{servers: ["http://127.0.0.1:1"]}}
processes: {{workers: 1}}
admin: {{listen: null, socket: admin.sock}}
"""
    )
    return path


def test_version() -> None:
    done = vestibule("--version")
    form = " (compiled)" if IS_COMPILED else ""
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"vestibule {__version__}{form}\n"


def test_help_names_every_command() -> None:
    done = vestibule("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("    ")]
    assert listed == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    done = vestibule(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: vestibule {command} ")


WRONG = [
    ([], "the following arguments are required: COMMAND"),
    (["fly"], "argument COMMAND: invalid choice: 'fly'"),
    (["run"], "the following arguments are required: -c/--config"),
    (["check"], "the following arguments are required: -c/--config"),
    (["status", "-c", "a", "--socket", "b"], "not allowed with argument -c/--config"),
    (["schema", "--fast"], "unrecognized arguments: --fast"),
]


@pytest.mark.parametrize(("arguments", "error"), WRONG)
def test_wrong_command_lines(arguments: list[str], error: str) -> None:
    done = vestibule(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr.splitlines()[-1]
    assert done.stderr.startswith("usage: vestibule")


@pytest.mark.parametrize("command", ["run", "check", "status", "reload"])
def test_a_file_that_is_not_there(command: str) -> None:
    done = vestibule(command, "-c", "/nowhere/vestibule.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "/nowhere/vestibule.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_bad_configuration_is_told_by_place(command: str, config: Path) -> None:
    config.write_text(config.read_text().replace("workers: 1", "workers: none"))
    done = vestibule(command, "-c", config.name, cwd=config.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert "vestibule.yaml:10:22: processes.workers: expected " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_check_says_what_it_understood(config: Path) -> None:
    done = vestibule("check", "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"{config}: ok"
    assert "listener public: 127.0.0.1:" in done.stdout


def test_schema_is_json() -> None:
    done = vestibule("schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert "listeners" in json.loads(done.stdout)["properties"]


@pytest.mark.parametrize("command", ["status", "reload"])
def test_nobody_runs(command: str, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    done = vestibule(command, "--socket", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"vestibule: no running proxy answers: {path}: No such file or directory\n"
    )


def test_an_admin_socket_that_is_off(config: Path) -> None:
    config.write_text(config.read_text().replace("socket: admin.sock", "socket: null"))
    done = vestibule("status", "-c", config)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"vestibule: {config}: admin.socket is off\n"


def test_a_life_from_run_to_sigterm(config: Path) -> None:
    environment = {**os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", "run", "-c", str(config)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["event"] == "running":
                break
        status = vestibule("status", "-c", config)
        assert (status.returncode, status.stderr) == (0, "")
        assert status.stdout.startswith(f"vestibule {__version__}: running, ready\ngeneration 1")
        document = json.loads(vestibule("status", "-c", config, "--json").stdout)
        assert [one["role"] for one in document["processes"]] == ["front", "worker"]

        reload = vestibule("reload", "-c", config)
        assert (reload.returncode, reload.stdout, reload.stderr) == (0, "generation 2\n", "")

        good = config.read_text()
        config.write_text(good.replace("workers: 1", "workers: none"))
        socket = config.parent / "admin.sock"
        failed = vestibule("reload", "--socket", socket)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert f"vestibule: {config}:10:22: processes.workers: expected " in failed.stderr
        status = vestibule("status", "--socket", socket)
        assert "last reload " in status.stdout
        assert "generation 2" in status.stdout

        taken = config.with_name("second.yaml")
        taken.write_text(good.replace("admin.sock", "second.sock"))
        second = vestibule("run", "-c", taken)
        assert second.returncode == 1
        assert "Address already in use" in second.stderr.splitlines()[-1]

        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(30) == 0
    assert not socket.exists()


def test_a_reader_that_has_seen_enough() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "proxy", "schema"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1
