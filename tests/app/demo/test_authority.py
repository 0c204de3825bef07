"""The demo's certificates, as a strict verifier sees them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from proxy.app.demo.authority import issue_demo_certificates


def verify(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    ca = str(directory / "ca.pem")
    return subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, *options],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("option", "name", "accepted"),
    [
        ("-verify_hostname", "localhost", True),
        ("-verify_ip", "127.0.0.1", True),
        ("-verify_ip", "::1", True),
        ("-verify_hostname", "example.org", False),
    ],
)
def test_a_leaf_is_good_for_its_names(
    tmp_path: Path, option: str, name: str, accepted: bool
) -> None:
    files = issue_demo_certificates(tmp_path, [("one", ["localhost", "127.0.0.1", "::1"])])
    done = verify(tmp_path, option, name, str(files["one"].certificate))
    assert (done.returncode == 0) == accepted, done.stderr


def test_keys_are_for_their_owner_and_the_roots_is_nowhere(tmp_path: Path) -> None:
    issue_demo_certificates(tmp_path, [("one", ["a.test"]), ("two", ["b.test"])])
    keys = {path.name for path in tmp_path.iterdir() if b"PRIVATE KEY" in path.read_bytes()}
    assert keys == {"one.key", "two.key"}
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in keys)


def test_writing_again_does_not_follow_what_is_there(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "one.key").symlink_to(elsewhere)
    issue_demo_certificates(tmp_path, [("one", ["a.test"])])
    assert elsewhere.read_text() == "precious"
    assert not (tmp_path / "one.key").is_symlink()
