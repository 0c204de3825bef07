"""Systemd unit, composition and Dockerfile fit the program's defaults and each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.config import load
from tests.peers import free_port

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"


def run_tool(*command: str | Path) -> str:
    """What the tool printed; fails where it does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def unit() -> dict[str, list[str]]:
    """The systemd unit's settings; those that may be given several times are lists anyway."""
    settings: dict[str, list[str]] = {}
    for line in (DEPLOY / "vestibule.service").read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    # It wants the program to be there.
    text = (DEPLOY / "vestibule.service").read_text()
    file = tmp_path / "vestibule.service"
    file.write_text(text.replace("/opt/vestibule/bin/vestibule", "/bin/true"))
    # A setting that it does not know is only printed; so is what it finds in the machine's units.
    assert file.name not in run_tool("systemd-analyze", "verify", "--man=no", file)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def composition() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


@pytest.fixture
def compose_configuration(tmp_path: Path) -> Path:
    """compose-vestibule.yaml with the certificates that the composition would make."""
    names = composition()["services"]["certificates"]["entrypoint"][4:]
    run_tool("bash", DEPLOY / "make-certificates", tmp_path, "", *names)
    text = (DEPLOY / "compose-vestibule.yaml").read_text()
    file = tmp_path / "vestibule.yaml"
    file.write_text(text.replace("/tls/", f"{tmp_path}/"))
    return file


def test_the_composition_s_configuration_loads(compose_configuration: Path) -> None:
    configuration = load(compose_configuration)
    published = composition()["services"]["vestibule"]["ports"]
    ports = {
        address.port for listener in configuration.front.listeners for address in listener.bind
    }
    assert {f"{port}:{port}" for port in ports} == set(published)
    admin = configuration.admin.listen
    assert admin is not None
    [scraped] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [f"vestibule:{admin.port}"]}]


def test_those_who_stop_vestibule_leave_it_time_to_drain(compose_configuration: Path) -> None:
    drain_s = load(compose_configuration).processes.drain_timeout_s
    assert seconds(unit()["TimeoutStopSec"][0]) > drain_s
    assert seconds(composition()["services"]["vestibule"]["stop_grace_period"]) > drain_s


@pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not installed"
)
def test_nginx_accepts_the_composition_s_backend(
    tmp_path: Path, compose_configuration: Path
) -> None:
    server = composition()["configs"]["backend"]["content"].replace("/tls/", f"{tmp_path}/")
    server = server.replace("8443", str(free_port()))
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{server}\n}}\n")
    run_tool("/usr/sbin/nginx", "-t", "-e", tmp_path / "error.log", "-c", file)


def test_files_that_the_composition_mounts_exist() -> None:
    for name, service in composition()["services"].items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_file() or source in composition()["volumes"], name
        for config in service.get("configs", []):
            assert config["source"] in composition()["configs"], name


def dockerfile_command(instruction: str) -> list[str]:
    """The JSON list that an instruction of the final stage gives."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    [line] = [line for line in text.splitlines() if line.startswith(instruction)]
    command: list[str] = json.loads(line[line.index("[") :])
    return command


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        healthy = self.path == "/healthz" and self.server.healthy  # type: ignore[attr-defined]
        self.send_response(200 if healthy else 503)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


@pytest.mark.parametrize(("healthy", "status"), [(True, 0), (False, 1), (None, 1)])
def test_the_image_s_health_check_tells_health(healthy: bool | None, status: int) -> None:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.healthy = healthy  # type: ignore[attr-defined]
        port = server.server_address[1]
        if healthy is None:
            port = free_port()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            command = dockerfile_command("HEALTHCHECK")
            code = command[-1].replace("9180", str(port))
            done = subprocess.run(
                [sys.executable, *command[1:-1], code], capture_output=True, timeout=30
            )
        finally:
            server.shutdown()
            thread.join()
    assert done.returncode == status, done.stderr


def test_the_image_runs_with_the_program_s_defaults(compose_configuration: Path) -> None:
    # Without the section that the composition needs, the admin server's address is the default.
    text = compose_configuration.read_text()
    compose_configuration.write_text(text[: text.index("admin:")])
    configuration = load(compose_configuration)
    admin = configuration.admin.listen
    assert admin is not None
    assert f"'{admin.host}', {admin.port}," in dockerfile_command("HEALTHCHECK")[-1]
    text = (ROOT / "Dockerfile").read_text()
    [exposed] = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    assert str(admin.port) in exposed.split()
