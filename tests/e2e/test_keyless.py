"""A keyless front: whoever reads all that its process was given cannot read its clients' traffic.

Every search here is made twice: in the front, where it must find nothing, and in a process that
signs, where it must find something.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.certs import Issued
from tests.e2e.conftest import PAGE, Authority, Backend
from tests.e2e.deployment import Vestibule, eventually, gone
from tests.e2e.exposure import descriptors, found_in, key_forms, mapped_files, traffic_secrets
from tests.e2e.faults.steps import KeepAlive, StepClient

_SYS_PTRACE = 1 << 19


def status(pid: int | str) -> Mapping[str, list[str]]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


if os.geteuid() != 0 or not int(status("self")["CapEff"][0], 16) & _SYS_PTRACE:
    pytest.skip(
        "only root, with CAP_SYS_PTRACE, sees what processes that hold keys have",
        allow_module_level=True,
    )

NOBODY = pwd.getpwuid(65534).pw_name
KINDS = {"ecdsa": "ecdsa-p256", "rsa": "rsa-2048"}
ROOT = Path(__file__).resolve().parents[2]


class Site:
    """A proxy whose listener has two certificates, and what it runs with."""

    def __init__(self, directory: Path, authority: Authority, backend: Backend) -> None:
        self.directory = directory
        self.authority = authority
        self.backend = backend
        self.issued: dict[str, Issued] = {}

    def certify(self) -> None:
        """Fresh certificates, one of each kind."""
        for name, kind in KINDS.items():
            self.issued[name] = self.authority.issue(["localhost", "127.0.0.1"], key=kind)
            self.issued[name].write(self.directory, name)

    def keys(self) -> dict[str, bytes]:
        """Every form of the present certificates' keys."""
        found: dict[str, bytes] = {}
        for name, issued in self.issued.items():
            found |= key_forms(name, issued.key_pem)
        return found

    def content(self, answer: str, **processes: Any) -> dict[str, Any]:
        """The configuration."""
        self.certify()
        files = self.authority.files()
        content = self.backend.settings(
            self.authority, files, processes={"workers": 1, **processes}
        )
        listener = content["listeners"][0]
        listener["answer"] = answer
        listener["server_names"][0]["certificates"] = [
            {"cert_file": str(self.directory / f"{name}.pem")}
            | {"key_file": str(self.directory / f"{name}.key")}
            for name in KINDS
        ]
        return content


@pytest.fixture
def site(tmp_path: Path, authority: Authority, backend: Backend) -> Site:
    """Its directory; no proxy runs yet."""
    return Site(tmp_path, authority, backend)


def process(proxy: Vestibule, role: str) -> int:
    """The one process of a role."""
    (pid,) = proxy.pids(role)
    return pid


@contextlib.contextmanager
def traffic(proxy: Vestibule, site: Site) -> Iterator[dict[str, bytes]]:
    """Clients that are there, have been there, and have not replied yet: all that is secret in it.

    Both kinds of certificates are used.
    """
    log = site.directory / f"keys-{secrets.token_hex(4)}.log"
    context = site.authority.trusting()
    context.keylog_filename = str(log)
    marker = secrets.token_hex(16)
    with contextlib.ExitStack() as ends:
        for signatures in ("ECDSA+SHA256", "RSA-PSS+SHA256"):
            subprocess.run(
                [
                    *("openssl", "s_client", "-connect", f"localhost:{proxy.port}"),
                    *("-CAfile", str(site.authority.file), "-verify_return_error"),
                    *("-sigalgs", signatures),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=True,
            )
        for _ in range(2):
            with KeepAlive(proxy.port, context) as gone_by:
                assert gone_by.ask(f"/?{marker}") == PAGE.encode()
        staying = ends.enter_context(KeepAlive(proxy.port, context))
        assert staying.ask(f"/?{marker}") == PAGE.encode()
        half_open = ends.enter_context(StepClient(proxy.port)).greet()
        yield {
            **traffic_secrets(log),
            "a request": marker.encode(),
            "a half-open client's secret": half_open.tls.handshake.secret,
        }
        assert staying.ask() == PAGE.encode()
        assert half_open.reply().status() == 200


LIVE = {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}
"""What a worker works with as long as a connection lasts."""


def signs(found: set[str]) -> bool:
    """Whether a process can sign by every certificate: by the file, or by the number itself."""
    return all(f"{name}: PEM" in found and f"{name}: d, little endian" in found for name in KINDS)


def test_a_keyless_front_has_nothing_to_read_traffic_with(site: Site) -> None:
    with Vestibule(site.directory, site.content("retry")) as proxy, traffic(proxy, site) as secret:
        wanted = site.keys() | secret
        assert found_in(process(proxy, "front"), wanted) == set()
        worker = found_in(process(proxy, "worker"), wanted)
        assert signs(worker)
        assert {name.partition(" of ")[0] for name in worker} >= LIVE


def test_a_front_that_signs_has_its_keys(site: Site) -> None:
    """What the test above would look like if it found something."""
    with Vestibule(site.directory, site.content("direct")) as proxy, traffic(proxy, site):
        assert signs(found_in(process(proxy, "front"), site.keys()))
        assert found_in(process(proxy, "worker"), site.keys()) == set()


def test_of_a_new_certificate_it_gets_nothing_either(site: Site) -> None:
    with Vestibule(site.directory, site.content("retry")) as proxy:
        former = site.keys()
        site.certify()
        proxy.signal(signal.SIGHUP)
        eventually(lambda: proxy.events("reload_succeeded"))
        with traffic(proxy, site) as secret:
            assert found_in(process(proxy, "front"), former | site.keys() | secret) == set()
            assert signs(found_in(process(proxy, "worker"), site.keys()))
        (expiry,) = proxy.metrics().by(EXPIRY, "listener", "name").values()
    assert expiry > 0  # shown by the worker, who has the certificates


EXPIRY = "vestibule_certificate_expiry_timestamp_seconds"


def test_all_that_it_has_open_is_accounted_for(site: Site) -> None:
    content = site.content("retry", workers=2)
    with Vestibule(site.directory, content) as proxy:
        pid = process(proxy, "front")
        opened = descriptors(pid)
        assert opened.pop("/dev/null") == 1  # standard input
        assert opened.pop(str(site.directory / "access.log")) == 1  # the supervisor's output
        assert opened.pop(str(site.directory / "vestibule.log")) == 1  # the supervisor's errors
        assert opened.pop(f"tcp listening on {proxy.port}") == 1
        assert opened.pop("unix seqpacket") == 1 + 2  # the supervisor, and each worker
        # A loop's own: it polls, wakes itself up, and gets signals through pairs of its own.
        assert opened.pop("anon_inode:[eventpoll]") <= 2 + 1  # our clients' among them
        own = {"anon_inode:[eventfd]", "anon_inode:[io_uring]", "pipe", "unix stream"}
        assert opened.keys() <= own, opened
        # Of files it has mapped programs and libraries, none of ours that is no module.
        mapped = mapped_files(pid)
        assert mapped
        assert not [path for path in mapped if path.is_relative_to(site.directory)]


def test_its_command_line_and_environment_name_nothing_of_ours(site: Site) -> None:
    secret = {"VESTIBULE_TEST_SECRET": "hush"}
    content = site.content("retry")
    with Vestibule(site.directory, content, environment=secret) as proxy:
        pid = process(proxy, "front")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        assert command[1:-1] == [b"-P", b"-m", b"proxy.app.child", b"front", b"0", b"--control-fd"]
        assert command[-1].isdigit()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PATH=" in environment
        for unwanted in (b"VESTIBULE_TEST_SECRET", bytes(site.directory)):
            assert unwanted not in environment


# --- under a user of its own -------------------------------------------------------------


def interpreter() -> tuple[list[str], dict[str, str]]:
    """A Python that other users may execute, and where it finds what is installed here."""
    paths = [str(ROOT), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    variables = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/local/bin/{minor}", f"/usr/bin/{minor}"):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(
                [program, "-P", "-c", "import proxy.app.front_role"],
                env={**os.environ, **variables},
                user=NOBODY,
                group=pwd.getpwnam(NOBODY).pw_gid,
                extra_groups=(),
                cwd="/",
                capture_output=True,
                check=True,
            )
            return [program], variables
    pytest.skip("no Python here that another user may execute")


def is_nobody(pid: int) -> bool:
    """Whether a process is that user and has no right beyond."""
    found = status(pid)
    capabilities = [int(found[kind][0], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
    ids = {number for kind in ("Uid", "Gid") for number in found[kind]}
    group = pwd.getpwnam(NOBODY).pw_gid
    return ids == {"65534", str(group)} and not found["Groups"] and not any(capabilities)


def test_it_can_be_a_user_of_its_own(site: Site) -> None:
    before, environment = interpreter()
    content = site.content("retry", keyless_user=NOBODY)
    with Vestibule(site.directory, content, before=before, environment=environment) as proxy:
        front, worker = process(proxy, "front"), process(proxy, "worker")
        assert is_nobody(front)
        assert status(worker)["Uid"] == ["0"] * 4
        with traffic(proxy, site) as secret:
            assert found_in(front, site.keys() | secret) == set()
        for name in KINDS:
            # What it was not given it cannot take.
            key = (site.directory / f"{name}.key").stat()
            assert (key.st_uid, key.st_mode & 0o077) == (0, 0)
        # Neither can another process of that user take what it has.
        assert Path(f"/proc/{front}/mem").stat().st_uid == 0

        proxy.signal(signal.SIGHUP)
        eventually(lambda: proxy.events("reload_succeeded"))
        assert process(proxy, "front") == front
        os.kill(front, signal.SIGKILL)
        gone(front)
        eventually(lambda: proxy.pids("front") not in ([front], [None]))
        eventually(lambda: all(one["state"] == "serving" for one in proxy.processes("front")))
        assert is_nobody(process(proxy, "front"))
        with traffic(proxy, site):
            pass


def test_a_reload_does_not_change_its_user(site: Site) -> None:
    """A process that has been given keys stays one that has been."""
    content = site.content("direct")
    with Vestibule(site.directory, content) as proxy:
        content["listeners"][0]["answer"] = "retry"
        content["processes"]["keyless_user"] = NOBODY
        proxy.write(content)
        proxy.signal(signal.SIGHUP)
        (refused,) = eventually(lambda: proxy.events("reload_failed"))
        assert f"keyless_user has changed from null to {NOBODY}" in refused["error"]
        assert "this takes a restart" in refused["error"]
        assert proxy.status()["generation"] == 1
        with traffic(proxy, site):
            pass
