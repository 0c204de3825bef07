"""The servers that are compared do the same work, and say whose they are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from proxy.app.bench.load import Load
from proxy.app.bench.sites import Site, find_nginx
from proxy.config import check


def curl(site: Site, port: int) -> str:
    return subprocess.run(
        ["curl", "-sS", "--fail", "--cacert", site.ca, f"https://localhost:{port}/"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout


@pytest.mark.parametrize("answer", ["direct", "retry", "adaptive"])
def test_a_vestibule_forwards_to_the_backend(site: Site, answer: str) -> None:
    with site.vestibule(answer) as server:
        assert server.name == f"vestibule {answer}"
        assert curl(site, server.ports["ecdsa"]) == "hello world\n"
        report = check(site.home / f"vestibule-{answer}.yaml")
        assert report.ok
        assert report.cautions == ()


def test_nginx_forwards_to_the_same_backend(site: Site, load: Load) -> None:
    program = find_nginx()
    if program is None:
        pytest.skip("nginx is not installed")
    with site.nginx(program) as server:
        assert len(server.pids) == 1
        assert curl(site, server.ports["ecdsa"]) == "hello world\n"
        assert load.abandoned_hellos(server.ports["ecdsa"], 50) == 50


def test_nginx_is_found_where_debian_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nginx() == shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/sbin")
    ours = tmp_path / "nginx"
    ours.touch(0o755)
    assert find_nginx() == str(ours)
