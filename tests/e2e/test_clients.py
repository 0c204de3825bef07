"""The clients people use fetch a page from nginx through Vestibule, and verify what they see.

None of them is told to ignore anything: each trusts the test's authority, and checks the name.
"""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PAGE, Authority, Backend
from tests.e2e.deployment import LIMIT_S, Vestibule

pytestmark = pytest.mark.requirement("A41")

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SAID = "nginx says hello through Vestibule"

GROUPS = {
    "X25519": ("x25519", "Server Temp Key: X25519"),
    "P-256": ("secp256r1", "Server Temp Key: ECDH, prime256v1"),
    "P-384": ("secp384r1", "Server Temp Key: ECDH, secp384r1"),
}
SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
KEYS = ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "ed25519"]


@pytest.fixture(scope="module", params=["adaptive", "retry"])
def vestibule(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    backend: Backend,
) -> Iterator[Vestibule]:
    """A proxy with a name for each kind of key, one with two of them, and a wildcard."""
    directory = tmp_path_factory.mktemp("vestibule")
    names = {f"{key}.localhost": [key] for key in KEYS}
    names |= {"several.localhost": ["ecdsa-p256", "rsa-2048"], "*.wild.localhost": ["ecdsa-p256"]}
    content = backend.settings(authority, authority.files())
    content["listeners"][0]["answer"] = request.param
    content["listeners"][0]["server_names"] += [
        _server_name(directory, authority, name, keys) for name, keys in names.items()
    ]
    with Vestibule(directory, content) as running:
        yield running


def _server_name(
    directory: Path, authority: Authority, name: str, keys: list[str]
) -> dict[str, Any]:
    certificates = []
    for key in keys:
        files = authority.issue([name], key=key).write(directory, f"{name.strip('*.')}-{key}")
        certificates.append({"cert_file": str(files.cert), "key_file": str(files.key)})
    return {"names": [name], "certificates": certificates, "routes": [{"backend": "app"}]}


def run(command: list[str], given: bytes = b"") -> str:
    """What a program writes; it has to succeed."""
    done = subprocess.run(command, input=given, capture_output=True, timeout=2 * LIMIT_S)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout.decode(errors="replace")


def s_client(
    vestibule: Vestibule, authority: Authority, *options: str, name: str = "localhost"
) -> str:
    """Fetch the page by `openssl s_client`; what it writes."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{vestibule.port}"]
    command += ["-servername", name, "-verify_hostname", name, "-tls1_3", "-ign_eof"]
    command += ["-CAfile", str(authority.file), "-verify_return_error"]
    output = run([*command, *options], REQUEST)
    assert "Verify return code: 0 (ok)" in output
    assert SAID in output
    return output


@pytest.mark.parametrize("group", GROUPS)
def test_openssl_by_every_group(vestibule: Vestibule, authority: Authority, group: str) -> None:
    label, shown = GROUPS[group]
    before = vestibule.metric("vestibule_handshakes_total", group=label)
    assert shown in s_client(vestibule, authority, "-groups", group)
    assert vestibule.metric("vestibule_handshakes_total", group=label) == before + 1


@pytest.mark.requirement("A26")
@pytest.mark.parametrize("suite", SUITES)
def test_openssl_by_every_suite(vestibule: Vestibule, authority: Authority, suite: str) -> None:
    before = vestibule.metric("vestibule_handshakes_total", suite=suite)
    output = s_client(vestibule, authority, "-ciphersuites", suite)
    assert f"New, TLSv1.3, Cipher is {suite}" in output
    assert vestibule.metric("vestibule_handshakes_total", suite=suite) == before + 1


@pytest.mark.requirement("A31")
def test_openssl_by_a_hello_retry_request(vestibule: Vestibule, authority: Authority) -> None:
    before = vestibule.metrics()
    # OpenSSL sends a share for the first group only, which is none of ours.
    output = s_client(vestibule, authority, "-groups", "X448:P-256", "-msg")
    assert output.count(", ClientHello") == 2
    assert "Server Temp Key: ECDH, prime256v1" in output
    after = vestibule.metrics()
    hellos, returned = "vestibule_hellos_total", "vestibule_retries_returned_total"
    assert after.value(hellos, answer="retry") == before.value(hellos, answer="retry") + 1
    assert after.value(hellos, answer="direct") == before.value(hellos, answer="direct")
    assert after.value(returned) == before.value(returned) + 1


def test_gnutls(vestibule: Vestibule, authority: Authority) -> None:
    """It takes a HelloRetryRequest only with a group that it sent no share for."""
    if shutil.which("gnutls-cli") is None:
        pytest.skip("needs gnutls-cli")
    command = ["gnutls-cli", "--port", str(vestibule.port), "--x509cafile", str(authority.file)]
    command += ["--verify-hostname", "localhost", "--sni-hostname", "localhost", "127.0.0.1"]
    assert SAID in run(command, REQUEST)


@pytest.mark.requirement("A25", "A27")
@pytest.mark.parametrize(
    ("options", "alert"),
    [
        (["-tls1_2"], "alert protocol version"),
        (["-groups", "X448"], "alert handshake failure"),
        (["-sigalgs", "RSA-PSS+SHA512"], "alert handshake failure"),
    ],
)
def test_nothing_in_common_gets_its_alert(
    vestibule: Vestibule, options: list[str], alert: str
) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{vestibule.port}", *options]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=LIMIT_S)
    assert done.returncode != 0
    assert alert in done.stderr.decode()


@pytest.mark.requirement("A29")
@pytest.mark.parametrize("key", KEYS)
def test_curl_by_every_kind_of_certificate(
    vestibule: Vestibule, authority: Authority, key: str
) -> None:
    assert curl(vestibule, authority, f"{key}.localhost") == f"{PAGE}1.1 0 1"


@pytest.mark.requirement("A29")
def test_the_certificate_fits_the_name_and_the_client(
    vestibule: Vestibule, authority: Authority
) -> None:
    assert curl(vestibule, authority, "any.wild.localhost") == f"{PAGE}1.1 0 1"
    for algorithms, shown in (
        ("ECDSA+SHA256:RSA-PSS+SHA256", "Peer signature type: ECDSA"),
        # The authority signs by ECDSA: a client that cannot verify that gets the leaf that it can.
        ("RSA-PSS+SHA256", "Peer signature type: RSA-PSS"),
    ):
        output = s_client(
            vestibule, authority, "-sigalgs", algorithms, "-servername", "several.localhost",
            name="several.localhost",
        )  # fmt: skip
        assert shown in output


def curl(vestibule: Vestibule, authority: Authority, name: str) -> str:
    """Fetch the page under a name; the page and what curl found."""
    command = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(authority.file)]
    command += ["--resolve", f"{name}:{vestibule.port}:127.0.0.1", "--write-out"]
    shape = "%{http_version} %{ssl_verify_result} %{num_connects}"
    return run([*command, shape, f"https://{name}:{vestibule.port}/"])


def test_curl_keeps_the_connection(vestibule: Vestibule, authority: Authority) -> None:
    command = ["curl", "--silent", "--fail", "--cacert", str(authority.file)]
    command += ["--write-out", "%{num_connects}", f"{vestibule.url}/", f"{vestibule.url}/"]
    assert run(command) == f"{PAGE}1{PAGE}0"


def test_python(vestibule: Vestibule, authority: Authority) -> None:
    connection = http.client.HTTPSConnection(
        "localhost", vestibule.port, context=authority.trusting(), timeout=LIMIT_S
    )
    try:
        for _ in range(2):
            connection.request("GET", "/")
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.read().decode() == PAGE
        assert isinstance(connection.sock, ssl.SSLSocket)
        assert connection.sock.version() == "TLSv1.3"
    finally:
        connection.close()


def test_chromium_with_a_post_quantum_key_share(
    tmp_path: Path, vestibule: Vestibule, authority: Authority
) -> None:
    """It trusts the authority because its user's certificate store does."""
    if shutil.which("chromium") is None or shutil.which("certutil") is None:
        pytest.skip("chromium or certutil is not installed")
    store = tmp_path / ".pki" / "nssdb"
    store.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{store}"]
    run([*certutil, "-N", "--empty-password"])
    run([*certutil, "-A", "-t", "C,,", "-n", "throw-away", "-i", str(authority.file)])

    def handshakes() -> float:
        return vestibule.metric("vestibule_handshakes_total", group="x25519mlkem768")

    before = handshakes()
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{vestibule.url}/"]
    done = subprocess.run(
        command,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
    )
    assert SAID in done.stdout, done.stderr
    assert handshakes() > before
