"""The built container image, run as an operator would: no rights, nothing writable but /tmp and
/run/vestibule.

Run by `bash tests/run tests/test_image.py --image NAME`, with a Docker daemon that this user may
use. Containers share the host's network, so port 9180 has to be free.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certs import ThrowAwayCa
from tests.peers import Nginx, free_port

pytestmark = pytest.mark.image

START_LIMIT_S = 30.0
STOP_LIMIT_S = 8.0
"""Below the ten seconds after which `docker stop` kills."""

LOCKED_DOWN = [
    "--read-only",
    *("--tmpfs", "/tmp"),
    *("--tmpfs", "/run/vestibule"),
    *("--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges"),
    *("--network", "host"),
    *("--health-interval", "1s"),
]


def docker(*arguments: str) -> str:
    """What docker printed; fails where it does."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def poll(what: str, happened: Callable[[], bool]) -> None:
    """Wait for what only asking can tell."""
    deadline = time.monotonic() + START_LIMIT_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {START_LIMIT_S} s: {what}")
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs."""

    id: str

    def inspect(self, path: str) -> str:
        return docker("inspect", "--format", f"{{{{{path}}}}}", self.id)

    def logs(self) -> str:
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True)
        return done.stdout + done.stderr

    def is_healthy(self) -> bool:
        assert self.inspect(".State.Running") == "true", self.logs()
        return self.inspect(".State.Health.Status") == "healthy"

    def stop(self) -> float:
        """Ask it to end; returns how long that took in seconds."""
        start = time.monotonic()
        docker("stop", self.id)
        return time.monotonic() - start


@pytest.fixture
def image(request: pytest.FixtureRequest) -> str:
    return str(request.config.getoption("--image"))


Start = Callable[..., Container]


@pytest.fixture
def start(image: str) -> Iterator[Start]:
    """Starts containers that are removed in the end: `start(*options, command=[...])`."""
    started: list[str] = []

    def run(*options: str, command: list[str]) -> Container:
        identity = docker("run", "--detach", *LOCKED_DOWN, *options, image, *command)
        started.append(identity)
        return Container(identity)

    yield run
    for identity in started:
        docker("rm", "--force", identity)


def curl(ca_file: Path, url: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", "--cacert", ca_file, url],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_image_carries_nothing_of_the_build(image: str) -> None:
    settings = json.loads(docker("inspect", image))[0]["Config"]
    assert settings["User"] == "10001:10001"
    assert not [entry for entry in settings["Env"] if entry.startswith("PIP_")]
    assert "PIP_" not in docker("history", "--no-trunc", image)
    run = ["run", "--rm", "--entrypoint", "sh", image, "-c"]
    assert docker(*run, "ls /opt/vestibule/bin/pip* /src 2>&1 | grep -c 'No such file'") == "2"


def test_commands_answer(image: str) -> None:
    run = ["run", "--rm", *LOCKED_DOWN, image]
    assert docker(*run, "--version").startswith("vestibule ")
    assert json.loads(docker(*run, "schema"))["properties"]["listeners"]


def test_the_demo_serves_and_stops(start: Start, tmp_path: Path) -> None:
    port = free_port()
    demo = start(command=["demo", "--listen", f"127.0.0.1:{port}", "--dir", "/tmp/demo"])
    poll("demo says what to try", lambda: "curl" in demo.logs())
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text(docker("exec", demo.id, "cat", "/tmp/demo/ca.pem") + "\n")
    assert json.loads(curl(ca_file, f"https://localhost:{port}/hello"))["path"] == "/hello"
    assert demo.stop() < STOP_LIMIT_S
    assert demo.inspect(".State.ExitCode") == "0", demo.logs()


def test_a_configuration_serves_is_healthy_and_stops(start: Start, tmp_path: Path) -> None:
    ca, port = ThrowAwayCa(), free_port()
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    ca_file = ca.write(mounted)
    # The container's user is nobody on this machine.
    ca.issue(["localhost"]).write(mounted).key.chmod(0o644)
    with Nginx(tmp_path, certificate=ca.issue(["localhost", "127.0.0.1"])) as nginx:
        (mounted / "vestibule.yaml").write_text(f"""
listeners:
  - name: public
    bind: ["127.0.0.1:{port}"]
    server_names:
      - names: [localhost]
        default: true
        certificates: [{{cert_file: server.pem, key_file: server.key}}]
        routes: [{{backend: app}}]
backends:
  app:
    servers: ["{nginx.url}"]
    tls: {{ca_file: ca.pem}}
""")
        for file in mounted.iterdir():
            file.chmod(0o644)
        mounted.chmod(0o755)
        proxy = start("--volume", f"{mounted}:/etc/vestibule:ro", command=[])
        poll("healthy", proxy.is_healthy)
        assert curl(ca_file, f"https://localhost:{port}/") == "hello from nginx\n"
        status = json.loads(docker("exec", proxy.id, "vestibule", "status", "--json"))
        assert status["phase"] == "running"
        assert proxy.stop() < STOP_LIMIT_S
    assert proxy.inspect(".State.ExitCode") == "0", proxy.logs()
    assert docker("diff", proxy.id) == ""


def test_a_wrong_configuration_ends_the_container_with_a_reason(
    start: Start, tmp_path: Path
) -> None:
    file = tmp_path / "vestibule.yaml"
    file.write_text("listener: []\n")
    file.chmod(0o644)
    refused = start("--volume", f"{file}:/etc/vestibule/vestibule.yaml:ro", command=[])
    assert docker("wait", refused.id) == "2"
    assert "/etc/vestibule/vestibule.yaml:1:1: listener" in refused.logs()
